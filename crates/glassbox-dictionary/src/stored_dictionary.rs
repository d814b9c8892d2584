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
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixPlace {
    pub(crate) tensor: &'static str,
    /// Stored as [width, features].
    pub(crate) transposed: bool,
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
}

impl Folding {
    pub(crate) const NONE: Self = Self {
        factor_in: 1.0,
        factor_out: 1.0,
        raw_units: false,
        decoder_lengths: false,
    };
}

/// A dictionary opened on disk.
#[derive(Debug)]
pub struct StoredDictionary {
    pub(crate) description: DictionaryDescription,
    pub(crate) weights: WeightsFile,
    pub(crate) encoder: MatrixPlace,
    pub(crate) decoder: MatrixPlace,
    pub(crate) encoder_bias: Vec<f32>,
    pub(crate) decoder_bias: Vec<f32>,
    pub(crate) encoder_scale: Option<Vec<f32>>,
    pub(crate) decoder_scale: Option<Vec<f32>>,
    pub(crate) folding: Folding,
    /// Configuration file and its checksum.
    pub(crate) config: (PathBuf, String),
    /// The checksum that the configuration states for the weights.
    pub(crate) expected_checksum: Option<String>,
    /// What the makers noted, in this program's own format.
    pub(crate) notes: Option<Value>,
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
    /// Values per row, d.
    pub width: usize,
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
}

impl StoredDictionary {
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
            features: description.features,
            rule: description.rule.to_string(),
            input_normalisation: description.input_normalisation.to_string(),
            subtract_decoder_bias: description.subtract_decoder_bias,
            precision: self.weights.type_name(self.encoder.tensor),
            bytes: self.bytes(),
            model: description.model.name.clone(),
            notes: self.notes.clone(),
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
                config: self.config.0,
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
            path.strip_prefix(folder).unwrap_or(path).display().to_string()
        };
        let checksums = vec![
            (name(&self.config.0), self.config.1),
            (name(self.weights.path()), checksum),
        ];
        description.provenance.checksums = checksums;
        let (features, width) = (description.features, description.width);
        let read = |place: MatrixPlace| {
            let shape = if place.transposed {
                [width, features]
            } else {
                [features, width]
            };
            self.weights.tensor(place.tensor, &shape, "")
        };
        let mut parts = DictionaryParts {
            encoder: StoredMatrix {
                values: read(self.encoder)?,
                transposed: self.encoder.transposed,
            },
            decoder: StoredMatrix {
                values: read(self.decoder)?,
                transposed: self.decoder.transposed,
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
        writeln!(f, "features     {} of width {}", self.features, self.width)?;
        writeln!(f, "activation   {}", self.rule)?;
        writeln!(f, "input        normalisation {}", self.input_normalisation)?;
        let bias = if self.subtract_decoder_bias {
            "subtracted from the input"
        } else {
            "added to the output only"
        };
        writeln!(f, "decoder bias {bias}")?;
        write!(f, "weights      {} bytes, {}", self.bytes, self.precision)
    }
}
