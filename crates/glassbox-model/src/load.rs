//! From a model folder to weights on a device.

use std::collections::BTreeSet;
use std::path::Path;

use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::{Backend, KernelError};

use crate::checkpoint::{Checkpoint, ElementType, StoredTensor};
use crate::config::ModelConfig;
use crate::config_parse::read_config;
use crate::families;
use crate::families::layout::{BlockLayout, LinearLayout, ModelLayout, NormLayout, TensorSource};
use crate::load_error::LoadError;
use crate::load_options::{LoadOptions, WeightType};
use crate::weight_values::{check_finite, index_of, rounded_bytes, widened, widened_bytes};
use crate::weights::{BlockWeights, Linear, NormWeights, Weights};

/// As [`load_with`], weights as they are stored.
///
/// # Errors
/// [`LoadError`] naming the file and the key or tensor.
pub fn load<B: Backend>(backend: &B, folder: &Path) -> Result<(ModelConfig, Weights<B>), LoadError> {
    load_with(backend, folder, &LoadOptions::default())
}

/// Loads the model in `folder`: reads its configuration, checks that the checkpoint holds exactly the tensors that
/// the configuration asks for, and puts them on the device. Every weight is checked to be finite. A backend on the
/// host uses matrices where they lie in the mapped files, which must stay as they are while the model lives.
///
/// # Errors
/// [`LoadError`] naming the file and the key or tensor.
pub fn load_with<B: Backend>(
    backend: &B,
    folder: &Path,
    options: &LoadOptions,
) -> Result<(ModelConfig, Weights<B>), LoadError> {
    let config = read_config(folder)?;
    let checkpoint = Checkpoint::open(folder)?;
    let layout = matching_layout(&config, &checkpoint)?;
    let weights = Uploader {
        backend,
        checkpoint: &checkpoint,
        options,
    }
    .model(&config, &layout)?;
    Ok((config, weights))
}

/// The places of the model's weights, after checking that the checkpoint holds them in the right shapes, and
/// nothing else. Values are not read, but for those of a tied head that is stored as well.
///
/// # Errors
/// [`LoadError`] for missing and extra tensors, wrong shapes and element types, and a tied head that differs.
pub(crate) fn matching_layout(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
) -> Result<ModelLayout, LoadError> {
    let layout = families::layout(config, |name| checkpoint.contains(name));
    let missing: Vec<String> = layout
        .sources(config)
        .filter(|source| !checkpoint.contains(&source.name))
        .map(|source| format!("{} {:?}", source.name, source.shape))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::MissingTensors {
            folder: checkpoint.folder().to_path_buf(),
            tensors: missing,
        });
    }
    let mut used = BTreeSet::new();
    for source in layout.sources(config) {
        if used.insert(source.name.as_str()) {
            tensor(checkpoint, source)?;
        }
    }
    let stored_copy = config.tied && checkpoint.contains(&layout.head.name);
    if stored_copy {
        used.insert(layout.head.name.as_str());
        check_tied_head(
            &tensor(checkpoint, &layout.embed)?,
            &tensor(checkpoint, &layout.head)?,
        )?;
    }
    let extra: Vec<String> = checkpoint
        .names()
        .filter(|name| !used.contains(name) && !families::is_derived_tensor(config.family, name))
        .map(str::to_owned)
        .collect();
    if !extra.is_empty() {
        return Err(LoadError::ExtraTensors {
            folder: checkpoint.folder().to_path_buf(),
            family: config.family.model_type(),
            tensors: extra,
        });
    }
    Ok(layout)
}

/// The stored tensor, of the expected shape.
fn tensor<'a>(checkpoint: &'a Checkpoint, source: &TensorSource) -> Result<StoredTensor<'a>, LoadError> {
    let tensor = checkpoint
        .tensor(&source.name)?
        .ok_or_else(|| LoadError::MissingTensors {
            folder: checkpoint.folder().to_path_buf(),
            tensors: vec![format!("{} {:?}", source.name, source.shape)],
        })?;
    if tensor.shape == source.shape {
        return Ok(tensor);
    }
    Err(LoadError::TensorShape {
        path: tensor.path.to_path_buf(),
        tensor: source.name.clone(),
        expected: source.shape.clone(),
        found: tensor.shape.to_vec(),
    })
}

/// A head stored beside the embedding that it is tied to must equal it bit by bit.
fn check_tied_head(embed: &StoredTensor<'_>, head: &StoredTensor<'_>) -> Result<(), LoadError> {
    let what = if embed.element_type != head.element_type {
        format!(
            "element type {} and {}",
            head.element_type.name(),
            embed.element_type.name()
        )
    } else if embed.data == head.data {
        return Ok(());
    } else {
        let same = embed
            .data
            .iter()
            .zip(head.data)
            .take_while(|(a, b)| a == b)
            .count();
        let index = index_of(same / embed.element_type.bytes(), embed.shape);
        format!("first at index {index:?}")
    };
    Err(LoadError::TiedHeadDiffers {
        path: head.path.to_path_buf(),
        head: head.name.to_owned(),
        embedding: embed.name.to_owned(),
        what,
    })
}

/// Puts checked tensors on a device.
struct Uploader<'a, B: Backend> {
    backend: &'a B,
    checkpoint: &'a Checkpoint,
    options: &'a LoadOptions,
}

impl<B: Backend> Uploader<'_, B> {
    fn model(&self, config: &ModelConfig, layout: &ModelLayout) -> Result<Weights<B>, LoadError> {
        Ok(Weights {
            embed: self.matrix(&layout.embed)?,
            pos_embed: layout
                .pos_embed
                .as_ref()
                .map(|source| self.matrix(source))
                .transpose()?,
            blocks: layout
                .blocks
                .iter()
                .map(|block| self.block(block))
                .collect::<Result<_, _>>()?,
            ln_final: self.norm(&layout.ln_final)?,
            unembed: if config.tied {
                None
            } else {
                Some(self.matrix(&layout.head)?)
            },
        })
    }

    fn block(&self, block: &BlockLayout) -> Result<BlockWeights<B>, LoadError> {
        Ok(BlockWeights {
            ln1: self.norm(&block.ln1)?,
            query: self.linear(&block.query)?,
            key: self.linear(&block.key)?,
            value: self.linear(&block.value)?,
            out: self.linear(&block.out)?,
            ln2: self.norm(&block.ln2)?,
            gate: block.gate.as_ref().map(|gate| self.linear(gate)).transpose()?,
            up: self.linear(&block.up)?,
            down: self.linear(&block.down)?,
        })
    }

    fn linear(&self, map: &LinearLayout) -> Result<Linear<B>, LoadError> {
        let bias = map.bias.as_ref().map(|bias| self.vector(bias)).transpose()?;
        Ok(Linear {
            weight: self.matrix(&map.weight)?,
            bias,
        })
    }

    fn norm(&self, norm: &NormLayout) -> Result<NormWeights<B>, LoadError> {
        let bias = norm.bias.as_ref().map(|bias| self.vector(bias)).transpose()?;
        Ok(NormWeights {
            weight: self.vector(&norm.weight)?,
            bias,
        })
    }

    fn matrix(&self, source: &TensorSource) -> Result<B::Matrix, LoadError> {
        let tensor = tensor(self.checkpoint, source)?;
        check_finite(&tensor)?;
        let &[stored_rows, stored_columns] = tensor.shape else {
            return Err(LoadError::TensorShape {
                path: tensor.path.to_path_buf(),
                tensor: source.name.clone(),
                expected: source.shape.clone(),
                found: tensor.shape.to_vec(),
            });
        };
        let part = source.part.clone().unwrap_or(0..stored_columns);
        let element = tensor.element_type;
        let kept = match self.options.weights {
            WeightType::Stored => true,
            WeightType::F32 => element == ElementType::F32,
            WeightType::Bf16 => element == ElementType::Bf16,
        };
        let whole = part.len() == stored_columns;
        if whole && kept && !source.transposed {
            let matrix = self.backend.matrix_mapped(
                tensor.file,
                tensor.at,
                element.stored(),
                stored_rows,
                stored_columns,
            );
            return self.on_device(source, matrix);
        }
        let cut;
        let data = if whole {
            tensor.data
        } else {
            cut = columns(&tensor, stored_columns, &part);
            &cut
        };
        let converted;
        let values = match self.options.weights {
            _ if kept => element.stored().values(data),
            WeightType::Stored | WeightType::F32 => {
                converted = widened_bytes(element, data);
                StoredValues::F32(&converted)
            }
            WeightType::Bf16 => {
                converted = rounded_bytes(element, data).map_err(|(place, value)| LoadError::TooLarge {
                    path: tensor.path.to_path_buf(),
                    tensor: source.name.clone(),
                    index: index_of(place, &[stored_rows, part.len()]),
                    value,
                    element: "bf16",
                })?;
                StoredValues::Bf16(&converted)
            }
        };
        let matrix = if source.transposed {
            self.backend
                .matrix_from_transposed(values, part.len(), stored_rows)
        } else {
            self.backend.matrix(values, stored_rows, part.len())
        };
        self.on_device(source, matrix)
    }

    fn on_device(
        &self,
        source: &TensorSource,
        matrix: Result<B::Matrix, KernelError>,
    ) -> Result<B::Matrix, LoadError> {
        matrix.map_err(|error| LoadError::Backend {
            tensor: source.name.clone(),
            source: error,
        })
    }

    fn vector(&self, source: &TensorSource) -> Result<B::Buffer, LoadError> {
        let tensor = tensor(self.checkpoint, source)?;
        check_finite(&tensor)?;
        let values = widened(&tensor);
        let part = source.part.clone().unwrap_or(0..values.len());
        Ok(self.backend.upload(&values[part]))
    }
}

/// Copies some columns of a matrix.
fn columns(tensor: &StoredTensor<'_>, stored_columns: usize, part: &std::ops::Range<usize>) -> Vec<u8> {
    let element = tensor.element_type.bytes();
    let mut cut = Vec::with_capacity(tensor.data.len() / stored_columns.max(1) * part.len());
    for row in tensor.data.chunks_exact(stored_columns * element) {
        cut.extend_from_slice(&row[part.start * element..part.end * element]);
    }
    cut
}
