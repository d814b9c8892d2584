//! What the tests share: fixtures, random dictionaries, plain arithmetic to compare with.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryDescription, DictionaryParts, InputNormalisation, ModelReference,
    Provenance, StoredMatrix,
};
use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::site::Site;
use safetensors::SafeTensors;

pub fn backend() -> CpuBackend {
    CpuBackend
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A tensor of a fixture with its shape.
pub fn tensor(file: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let values = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    (view.shape().to_vec(), values)
}

pub fn read(buffer: &<CpuBackend as Backend>::Buffer, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    backend().read(buffer, 0, &mut values).unwrap();
    values
}

/// Copies a folder with its subfolders.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Small deterministic pseudo-random numbers with a bell shape.
#[derive(Debug)]
pub struct Draws(pub u64);

impl Draws {
    pub fn uniform(&mut self) -> f32 {
        // SplitMix64 (Steele et al. 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.uniform()).sum::<f32>() * 2.0_f32.sqrt() - 3.0 * 2.0_f32.sqrt()
    }

    pub fn normals(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.normal() * scale).collect()
    }
}

/// A dictionary's weights on the host, in f64.
#[derive(Clone, Debug)]
pub struct Plain {
    pub features: usize,
    pub width: usize,
    pub encoder: Vec<f32>,
    pub decoder: Vec<f32>,
    pub encoder_bias: Vec<f32>,
    pub decoder_bias: Vec<f32>,
    pub encoder_scale: Option<Vec<f32>>,
    pub decoder_scale: Option<Vec<f32>>,
    pub rule: ActivationRule,
    pub subtract: bool,
    pub normalisation: InputNormalisation,
    pub site: Site,
}

impl Plain {
    pub fn random(
        seed: u64,
        features: usize,
        width: usize,
        rule: &str,
        normalisation: InputNormalisation,
    ) -> Self {
        let mut draws = Draws(seed);
        let rule = match rule {
            "relu" => ActivationRule::Relu,
            "top_k" => ActivationRule::top_k((features / 4).max(1)),
            _ => ActivationRule::JumpRelu {
                threshold: (0..features).map(|_| draws.uniform()).collect(),
            },
        };
        Self {
            features,
            width,
            encoder: draws.normals(features * width, 1.0 / (width as f32).sqrt()),
            decoder: draws.normals(features * width, 1.0 / (width as f32).sqrt()),
            encoder_bias: draws.normals(features, 0.3),
            decoder_bias: draws.normals(width, 0.3),
            encoder_scale: Some((0..features).map(|_| 0.5 + draws.uniform()).collect()),
            decoder_scale: Some((0..features).map(|_| 0.5 + draws.uniform()).collect()),
            rule,
            subtract: seed.is_multiple_of(2),
            normalisation,
            site: Site::ResidPost(1),
        }
    }

    pub fn dictionary(&self) -> Arc<Dictionary<CpuBackend>> {
        self.try_dictionary().map(Arc::new).unwrap()
    }

    pub fn try_dictionary(&self) -> glassbox_dictionary::Result<Dictionary<CpuBackend>> {
        let bytes = |values: &[f32]| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let (encoder, decoder) = (bytes(&self.encoder), bytes(&self.decoder));
        let matrix = |bytes| StoredMatrix {
            values: StoredValues::F32(bytes),
            transposed: false,
        };
        Dictionary::from_parts(
            &backend(),
            DictionaryParts {
                description: DictionaryDescription {
                    site: self.site,
                    output_site: self.site,
                    width: self.width,
                    output_width: self.width,
                    features: self.features,
                    rule: self.rule.clone(),
                    subtract_decoder_bias: self.subtract,
                    input_normalisation: self.normalisation,
                    model: ModelReference::default(),
                    provenance: Provenance::in_memory(),
                },
                encoder: matrix(&encoder),
                decoder: matrix(&decoder),
                skip: None,
                encoder_bias: self.encoder_bias.clone(),
                decoder_bias: self.decoder_bias.clone(),
                encoder_scale: self.encoder_scale.clone(),
                decoder_scale: self.decoder_scale.clone(),
            },
        )
    }

    fn scale(scale: &Option<Vec<f32>>, i: usize) -> f64 {
        scale.as_ref().map_or(1.0, |scale| f64::from(scale[i]))
    }

    pub fn encoder_row(&self, i: usize) -> Vec<f64> {
        let scale = Self::scale(&self.encoder_scale, i);
        self.encoder[i * self.width..][..self.width]
            .iter()
            .map(|w| f64::from(*w) * scale)
            .collect()
    }

    pub fn decoder_row(&self, i: usize) -> Vec<f64> {
        let scale = Self::scale(&self.decoder_scale, i);
        self.decoder[i * self.width..][..self.width]
            .iter()
            .map(|w| f64::from(*w) * scale)
            .collect()
    }

    /// (y, factor, mean) of one row.
    pub fn normalise(&self, x: &[f64]) -> (Vec<f64>, f64, f64) {
        let d = x.len() as f64;
        match self.normalisation {
            InputNormalisation::None => (x.to_vec(), 1.0, 0.0),
            InputNormalisation::LayerNorm => {
                let mean = x.iter().sum::<f64>() / d;
                let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (d - 1.0)).sqrt();
                (x.iter().map(|x| (x - mean) / (std + 1e-5)).collect(), std, mean)
            }
            InputNormalisation::ConstantNormRescale => {
                let factor = (x.iter().map(|x| x * x).sum::<f64>() / d).sqrt();
                (x.iter().map(|x| x / factor).collect(), factor, 0.0)
            }
        }
    }

    /// Pre-activations of one row and, for each, the boundary that it must exceed.
    pub fn pre_activations(&self, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (y, _, _) = self.normalise(x);
        let z: Vec<f64> = (0..self.features)
            .map(|i| {
                let row = self.encoder_row(i);
                let shifted = |j: usize| {
                    y[j] - if self.subtract {
                        f64::from(self.decoder_bias[j])
                    } else {
                        0.0
                    }
                };
                (0..self.width).map(|j| row[j] * shifted(j)).sum::<f64>() + f64::from(self.encoder_bias[i])
            })
            .collect();
        let boundary = match &self.rule {
            ActivationRule::Relu => vec![0.0; self.features],
            ActivationRule::JumpRelu { threshold } => threshold.iter().map(|t| f64::from(*t)).collect(),
            ActivationRule::GroupMax { groups } => {
                let largest = |group: &[f64]| group.iter().fold(0.0, |a: f64, b| a.max(*b));
                let size = self.features / groups;
                // Just below the largest of each group.
                z.chunks(size)
                    .flat_map(|group| vec![largest(group).next_down().max(0.0); size])
                    .collect()
            }
            ActivationRule::TopK { k, .. } => {
                let mut sorted = z.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let kept = sorted[k - 1];
                let next = sorted.get(*k).copied().unwrap_or(f64::NEG_INFINITY);
                vec![(0.5 * (kept + next)).max(0.0); self.features]
            }
        };
        (z, boundary)
    }

    /// The smallest distance of a pre-activation from where its feature switches.
    pub fn margin(&self, x: &[f64]) -> f64 {
        let (z, boundary) = self.pre_activations(x);
        z.iter()
            .zip(&boundary)
            .map(|(z, b)| (z - b).abs())
            .fold(f64::INFINITY, f64::min)
    }

    pub fn encode(&self, x: &[f64]) -> Vec<f64> {
        let (z, boundary) = self.pre_activations(x);
        z.iter()
            .zip(&boundary)
            .map(|(z, b)| if z > b { *z } else { 0.0 })
            .collect()
    }

    pub fn decode(&self, f: &[f64], x: &[f64]) -> Vec<f64> {
        let (_, factor, mean) = self.normalise(x);
        let mut out: Vec<f64> = self.decoder_bias.iter().map(|b| f64::from(*b)).collect();
        for (i, value) in f.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            for (out, w) in out.iter_mut().zip(self.decoder_row(i)) {
                *out += value * w;
            }
        }
        out.iter().map(|out| out * factor + mean).collect()
    }
}

/// Largest |found − expected| relative to the largest |expected| (or to one).
pub fn relative_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected
        .iter()
        .fold(1.0_f64, |scale, value| scale.max(value.abs()));
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f64::from(*f) - e).abs())
        .fold(0.0, f64::max)
        / scale
}

pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
