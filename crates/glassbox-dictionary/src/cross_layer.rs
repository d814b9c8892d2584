//! Cross-layer transcoders (Ameisen et al. 2025): features that read one layer and write to it and all later ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use glassbox_kernels::{Backend, CpuBackend, KernelError};
use glassbox_model::site::Site;

use crate::cross_layer_formats;
use crate::cross_layer_weights::StoredCrossLayer;
use crate::error::{DictionaryError, Result};
use crate::feature_encoder::{FeatureEncoder, check_rows};
use crate::normalisation::read_vec;
use crate::sparse::{SparseFeatures, SparseSelection, add_decoded};

/// What a cross-layer transcoder is, apart from its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossLayerDescription {
    /// Name of the format.
    pub format: String,
    /// Its folder.
    pub path: PathBuf,
    /// The site that each layer's encoder reads, [layers].
    pub sites: Vec<Site>,
    /// The site that is written at each layer, [layers].
    pub output_sites: Vec<Site>,
    /// Values per row, d.
    pub width: usize,
    /// Features of each layer, F.
    pub features: usize,
    /// The activation in words.
    pub rule: String,
    /// Whether the output has a part that is linear in the layer's input, whatever the features are.
    pub skip: bool,
    /// The model that it was made for, where stated.
    pub model: Option<String>,
    /// Bytes of all weights.
    pub bytes: u64,
}

impl CrossLayerDescription {
    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.sites.len()
    }

    fn check_layer(&self, layer: usize) -> Result<()> {
        if layer < self.layers() {
            return Ok(());
        }
        Err(DictionaryError::LayerOutOfRange {
            path: self.path.clone(),
            layer,
            last: self.layers() - 1,
        })
    }
}

/// A cross-layer transcoder whose files stay on disk: an encoder is brought to the device when its layer is first asked
/// for, decoder rows are read for the features that are active.
///
/// With x_s the rows that layer s reads, f_s = rule_s(x_s · W_enc,sᵀ + b_enc,s), and the output at layer t is
/// Σ_{s ≤ t} f_s · W_dec,s→t + b_dec,t, plus x_t · W_skip,tᵀ where there is a skip connection.
#[derive(Debug)]
pub struct CrossLayerTranscoder<B: Backend = CpuBackend> {
    backend: B,
    stored: StoredCrossLayer,
    encoders: Mutex<HashMap<usize, Arc<FeatureEncoder<B>>>>,
}

impl<B: Backend> CrossLayerTranscoder<B> {
    /// Opens the files in a folder and checks their headers.
    ///
    /// # Errors
    /// [`DictionaryError::NoFormat`] with the formats there are; whatever is wrong with a file, with its place.
    pub fn open(path: &Path, backend: &B) -> Result<Self> {
        Ok(Self {
            backend: backend.clone(),
            stored: cross_layer_formats::open(path)?,
            encoders: Mutex::default(),
        })
    }

    /// Whether a folder looks like one.
    pub fn recognises(path: &Path) -> bool {
        cross_layer_formats::recognise(path).is_some()
    }

    /// What it is.
    pub fn description(&self) -> &CrossLayerDescription {
        &self.stored.description
    }

    /// Feature values [n, features] of a layer, from the rows x [n, width] of its site.
    ///
    /// # Errors
    /// [`DictionaryError::LayerOutOfRange`]; [`KernelError::Parameter`] if a value of x is not finite;
    /// [`DictionaryError::TensorValue`] for a weight that is not.
    pub fn encode(&self, layer: usize, x: &B::Buffer, n: usize) -> Result<B::Buffer> {
        let description = self.description();
        description.check_layer(layer)?;
        check_rows(&self.backend, x, n, description.width, description.sites[layer])?;
        Ok(self.encoder(layer)?.encode(x, n)?)
    }

    /// The active features of a layer.
    ///
    /// # Errors
    /// As [`CrossLayerTranscoder::encode`].
    pub fn encode_sparse(
        &self,
        layer: usize,
        x: &B::Buffer,
        n: usize,
        selection: &SparseSelection,
    ) -> Result<SparseFeatures> {
        let features = self.description().features;
        let dense = self.encode(layer, x, n)?;
        let mut sparse = SparseFeatures {
            row_offsets: vec![0],
            ..SparseFeatures::default()
        };
        for row in read_vec(&self.backend, &dense, n * features)?.chunks_exact(features) {
            sparse.push_row(row, selection);
        }
        Ok(sparse)
    }

    /// Output [n, width] at layer `target` from the features of layers 0 to `target`, in this order. `x` [n, width], the
    /// rows that the target layer reads, is needed where there is a skip connection.
    ///
    /// # Errors
    /// [`DictionaryError::LayerOutOfRange`], [`KernelError::Parameter`] for another number of layers or of rows, or where x is
    /// missing, [`DictionaryError::FeatureOutOfRange`], [`DictionaryError::TensorValue`].
    pub fn reconstruct(
        &self,
        target: usize,
        features: &[SparseFeatures],
        x: Option<&B::Buffer>,
    ) -> Result<B::Buffer> {
        let description = self.description();
        description.check_layer(target)?;
        let n = features.first().map_or(0, SparseFeatures::rows);
        let wrong = |what| {
            Err(KernelError::Parameter {
                op: "reconstruct",
                what,
            }
            .into())
        };
        if features.len() != target + 1 {
            let found = features.len();
            return wrong(format!(
                "features of {found} layers, expected those of layers 0 to {target}"
            ));
        }
        if let Some(layer) = features.iter().position(|features| features.rows() != n) {
            let rows = features[layer].rows();
            return wrong(format!("layer {layer} has {rows} rows, layer 0 has {n}"));
        }
        let width = description.width;
        let mut output = self
            .backend
            .upload(&self.stored.layers[target].decoder_bias.repeat(n));
        for (source, features) in features.iter().enumerate() {
            add_decoded(&self.backend, features, width, &mut output, |ids| {
                Ok(self.backend.upload(&self.decoder_rows(source, target, ids)?))
            })?;
        }
        if let Some(skip) = self.stored.skip(target)? {
            let Some(x) = x else {
                return wrong(format!(
                    "its skip connection needs the rows of {}",
                    description.sites[target]
                ));
            };
            check_rows(&self.backend, x, n, width, description.sites[target])?;
            let skip = skip.upload(&self.backend, width, width)?;
            let mut skipped = self.backend.zeros(n * width);
            self.backend.linear(x, n, &skip, None, &mut skipped)?;
            self.backend.add(&skipped, n * width, &mut output)?;
        }
        Ok(output)
    }

    /// Decoder rows [ids.len(), width] from some features of layer `source` to layer `target`.
    ///
    /// # Errors
    /// [`DictionaryError::LayerOutOfRange`] (also for a target before the source), [`DictionaryError::FeatureOutOfRange`],
    /// [`DictionaryError::TensorValue`].
    pub fn decoder_rows(&self, source: usize, target: usize, ids: &[u32]) -> Result<Vec<f32>> {
        let description = self.description();
        description.check_layer(target)?;
        if source > target {
            return Err(DictionaryError::LayerOutOfRange {
                path: description.path.clone(),
                layer: source,
                last: target,
            });
        }
        for id in ids {
            if *id as usize >= description.features {
                return Err(DictionaryError::FeatureOutOfRange {
                    feature: *id,
                    site: description.sites[source],
                    last: description.features - 1,
                });
            }
        }
        self.stored.decoder_rows(source, target, ids)
    }

    fn encoder(&self, layer: usize) -> Result<Arc<FeatureEncoder<B>>> {
        // Held while a layer is read, so that two requests read it once. A panic elsewhere leaves the map whole.
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = encoders.get(&layer) {
            return Ok(Arc::clone(encoder));
        }
        let description = self.description();
        let encoder = FeatureEncoder::new(
            &self.backend,
            &self.stored.encoder(layer)?,
            [description.features, description.width],
            &self.stored.rule(layer)?,
            None,
            self.stored.layers[layer].encoder_bias.clone(),
            None,
        )?;
        let encoder = Arc::new(encoder);
        encoders.insert(layer, Arc::clone(&encoder));
        Ok(encoder)
    }
}

/// What the cross-layer transcoder in a folder is, without its weights.
///
/// # Errors
/// As [`CrossLayerTranscoder::open`].
pub fn inspect_cross_layer(path: &Path) -> Result<CrossLayerDescription> {
    Ok(cross_layer_formats::open(path)?.description)
}
