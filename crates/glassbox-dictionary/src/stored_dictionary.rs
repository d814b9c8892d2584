//! A dictionary opened on disk: its configuration understood, its weights not yet on a device.

use std::fmt;
use std::path::PathBuf;

use glassbox_kernels::Backend;
use serde_json::Value;

use crate::description::DictionaryDescription;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::parts::{DictionaryParts, StoredMatrix};
use crate::weights_file::WeightsFile;

/// Where a matrix lies in the weights.
#[derive(Clone, Debug)]
pub(crate) struct MatrixPlace {
    tensor: String,
    /// Stored as [columns, rows].
    transposed: bool,
}

impl MatrixPlace {
    /// A tensor that holds the matrix row after row: [features, width] for an encoder.
    pub(crate) fn rows(tensor: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            transposed: false,
        }
    }

    /// A tensor that holds it column after column: [width, features] for an encoder.
    pub(crate) fn columns(tensor: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            transposed: true,
        }
    }

    /// Checks that the matrix [rows, columns] is there; `axes` names the stored axes in messages.
    pub(crate) fn find(
        &self,
        weights: &WeightsFile,
        [rows, columns]: [usize; 2],
        axes: &'static str,
    ) -> Result<()> {
        let shape = if self.transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        weights.find(&self.tensor, &shape, axes).map(|_| ())
    }

    /// The matrix [rows, columns] in the weights.
    pub(crate) fn read<'a>(
        &self,
        weights: &'a WeightsFile,
        [rows, columns]: [usize; 2],
    ) -> Result<StoredMatrix<'a>> {
        let shape = if self.transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        Ok(StoredMatrix {
            values: weights.tensor(&self.tensor, &shape, "")?,
            transposed: self.transposed,
        })
    }
}

/// Constant factors that a format leaves to whoever reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    /// The dictionary was trained on inputs times this.
    pub(crate) factor_in: f64,
    /// And on outputs times this.
    pub(crate) factor_out: f64,
    /// Whether the features keep the units that they were trained in, or take those of raw activations (divided by
    /// `factor_in`).
    pub(crate) raw_units: bool,
    /// Whether features are measured by the length of their decoder rows.
    pub(crate) decoder_lengths: bool,
    /// Whether features are chosen by their value times the length of their stored decoder rows, and keep their value.
    pub(crate) gated_by_lengths: bool,
}

impl Folding {
    pub(crate) const NONE: Self = Self {
        factor_in: 1.0,
        factor_out: 1.0,
        raw_units: false,
        decoder_lengths: false,
        gated_by_lengths: false,
    };
}

/// A dictionary opened on disk.
#[derive(Debug)]
pub struct StoredDictionary {
    pub(crate) description: DictionaryDescription,
    pub(crate) weights: WeightsFile,
    pub(crate) encoder: MatrixPlace,
    pub(crate) decoder: MatrixPlace,
    pub(crate) skip: Option<MatrixPlace>,
    pub(crate) encoder_bias: Vec<f32>,
    pub(crate) decoder_bias: Vec<f32>,
    pub(crate) encoder_scale: Option<Vec<f32>>,
    pub(crate) decoder_scale: Option<Vec<f32>>,
    pub(crate) folding: Folding,
    /// Configuration file and its checksum, where the format has one.
    pub(crate) config: Option<(PathBuf, String)>,
    /// The checksum that the configuration states for the weights.
    pub(crate) expected_checksum: Option<String>,
    /// What the makers noted, in this program's own format.
    pub(crate) notes: Option<Value>,
    /// log10 of how often each feature was active in training, where the makers stored it.
    pub(crate) log10_frequency: Option<Vec<f32>>,
}

/// What a dictionary holds, in words and numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionarySummary {
    /// Name of the format.
    pub format: String,
    /// The folder.
    pub path: PathBuf,
    /// Name of the site it reads.
    pub site: String,
    /// Name of the site it writes.
    pub output_site: String,
    /// Values per row of the input, d.
    pub width: usize,
    /// Values per row of the output.
    pub output_width: usize,
    /// Whether part of the output is linear in the input, whatever the features are.
    pub skip: bool,
    /// Number of features, F.
    pub features: usize,
    /// The activation rule in words.
    pub rule: String,
    /// What is done to each row before the encoder.
    pub input_normalisation: String,
    /// Whether the decoder bias is subtracted before the encoder.
    pub subtract_decoder_bias: bool,
    /// Type of the encoder's stored values.
    pub precision: String,
    /// Bytes of the weights.
    pub bytes: u64,
    /// The model that it was made for, where stated.
    pub model: Option<String>,
    /// What the makers noted.
    pub notes: Option<Value>,
    /// How often features were active in training, where stored: the median of log10, and how many never were.
    pub stored_frequency: Option<StoredFrequency>,
}

/// How often features were active, as the makers counted it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredFrequency {
    /// Median over features of log10 of the share of tokens.
    pub median_log10: f32,
    /// Features below one token in ten million, which is how SAELens writes "never".
    pub never_active: usize,
}

/// SAELens adds 1e-10 before the logarithm; less than this is a feature that was never active.
const NEVER: f32 = -7.0;

impl StoredFrequency {
    fn of(log10_frequency: &[f32]) -> Option<Self> {
        let mut sorted = log10_frequency.to_vec();
        sorted.sort_by(f32::total_cmp);
        Some(Self {
            median_log10: *sorted.get(sorted.len() / 2)?,
            never_active: sorted.iter().filter(|value| **value < NEVER).count(),
        })
    }
}

impl StoredDictionary {
    /// A dictionary whose decoder comes without anything special; a format sets what differs.
    pub(crate) fn new(
        description: DictionaryDescription,
        weights: WeightsFile,
        [encoder, decoder]: [MatrixPlace; 2],
        encoder_bias: Vec<f32>,
        decoder_bias: Vec<f32>,
    ) -> Self {
        Self {
            description,
            weights,
            encoder,
            decoder,
            skip: None,
            encoder_bias,
            decoder_bias,
            encoder_scale: None,
            decoder_scale: None,
            folding: Folding::NONE,
            config: None,
            expected_checksum: None,
            notes: None,
            log10_frequency: None,
        }
    }

    /// Records the configuration that the description was read from.
    pub(crate) fn with_config(mut self, path: PathBuf, bytes: &[u8]) -> Self {
        self.config = Some((path, blake3::hash(bytes).to_hex().to_string()));
        self
    }

    /// log10 of how often each feature was active in training [features], where the makers stored it.
    pub fn log10_frequency(&self) -> Option<&[f32]> {
        self.log10_frequency.as_deref()
    }

    /// Everything but the weights. Its provenance has no checksums yet: they need a pass over the whole file.
    pub fn description(&self) -> &DictionaryDescription {
        &self.description
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        self.weights.data_length()
    }

    /// What it holds, without a pass over the weights.
    pub fn summary(&self) -> DictionarySummary {
        let description = &self.description;
        DictionarySummary {
            format: description.provenance.format.clone(),
            path: description.provenance.path.clone().unwrap_or_default(),
            site: description.site.to_string(),
            output_site: description.output_site.to_string(),
            width: description.width,
            output_width: description.output_width,
            skip: self.skip.is_some(),
            features: description.features,
            rule: description.rule.to_string(),
            input_normalisation: description.input_normalisation.to_string(),
            subtract_decoder_bias: description.subtract_decoder_bias,
            precision: self.weights.type_name(&self.encoder.tensor),
            bytes: self.bytes(),
            model: description.model.name.clone(),
            notes: self.notes.clone(),
            stored_frequency: self.log10_frequency.as_deref().and_then(StoredFrequency::of),
        }
    }

    /// Reads the weights, checks them and brings them to a device.
    ///
    /// # Errors
    /// [`crate::DictionaryError::TensorValue`] for a weight that isn't finite, [`crate::DictionaryError::Checksum`] if the
    /// weights aren't those the configuration was written for.
    pub fn load<B: Backend>(self, backend: &B) -> Result<Dictionary<B>> {
        let checksum = self.weights.checksum();
        if let Some(expected) = self.expected_checksum.filter(|expected| *expected != checksum) {
            return Err(crate::DictionaryError::Checksum {
                path: self.weights.path().to_path_buf(),
                config: self.config.map_or_else(PathBuf::new, |(path, _)| path),
                found: checksum,
                expected,
            });
        }
        let mut description = self.description;
        let name = |path: &std::path::Path| {
            let folder = description
                .provenance
                .path
                .as_deref()
                .unwrap_or(std::path::Path::new(""));
            let inside = path.strip_prefix(folder).unwrap_or(path);
            // A dictionary that is one file lies at its own path.
            let name = if inside.as_os_str().is_empty() {
                path.file_name().map_or(inside, std::path::Path::new)
            } else {
                inside
            };
            name.display().to_string()
        };
        let config = self
            .config
            .iter()
            .map(|(path, checksum)| (name(path), checksum.clone()));
        let checksums = config.chain([(name(self.weights.path()), checksum)]).collect();
        description.provenance.checksums = checksums;
        let (features, width, output_width) =
            (description.features, description.width, description.output_width);
        let mut parts = DictionaryParts {
            encoder: self.encoder.read(&self.weights, [features, width])?,
            decoder: self.decoder.read(&self.weights, [features, output_width])?,
            skip: match &self.skip {
                Some(skip) => Some(skip.read(&self.weights, [output_width, width])?),
                None => None,
            },
            description,
            encoder_bias: self.encoder_bias,
            decoder_bias: self.decoder_bias,
            encoder_scale: self.encoder_scale,
            decoder_scale: self.decoder_scale,
        };
        parts.fold(&self.folding);
        Dictionary::from_checked_matrices(backend, parts)
    }
}

impl fmt::Display for DictionarySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dictionary   {} ({})", self.path.display(), self.format)?;
        if self.site == self.output_site {
            writeln!(f, "site         {}", self.site)?;
        } else {
            writeln!(
                f,
                "site         reads {}, writes {} (transcoder)",
                self.site, self.output_site
            )?;
        }
        if let Some(model) = &self.model {
            writeln!(f, "model        {model}")?;
        }
        if self.width == self.output_width {
            writeln!(f, "features     {} of width {}", self.features, self.width)?;
        } else {
            writeln!(
                f,
                "features     {} from width {} to width {}",
                self.features, self.width, self.output_width
            )?;
        }
        if self.skip {
            writeln!(f, "skip         a linear map of the input is added to the output")?;
        }
        writeln!(f, "activation   {}", self.rule)?;
        writeln!(f, "input        normalisation {}", self.input_normalisation)?;
        let bias = if self.subtract_decoder_bias {
            "subtracted from the input"
        } else {
            "added to the output only"
        };
        writeln!(f, "decoder bias {bias}")?;
        if let Some(frequency) = &self.stored_frequency {
            writeln!(
                f,
                "in training  median log10 frequency {:.2}, {} features never active (as stored by the makers)",
                frequency.median_log10, frequency.never_active
            )?;
        }
        write!(f, "weights      {} bytes, {}", self.bytes, self.precision)
    }
}
