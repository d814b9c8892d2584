//! A model: its configuration and its weights on a device.

use std::path::Path;

use glassbox_kernels::backend::NormKind;
use glassbox_kernels::{Backend, CpuBackend};
use thiserror::Error;

use crate::config::{ModelConfig, PositionKind};
use crate::forward::Workspace;
use crate::load::load_with;
use crate::load_error::LoadError;
use crate::load_options::LoadOptions;
use crate::weights::{Linear, NormWeights, Weights};

/// A model that can't be made.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The folder can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration contradicts itself.
    #[error("the configuration contradicts itself: {0}")]
    Config(String),
    /// A weight has another shape than the configuration says.
    #[error("{weight} has shape {found}, the configuration needs {expected}")]
    Shape {
        /// The weight.
        weight: String,
        /// Its shape.
        found: String,
        /// The shape that the configuration needs.
        expected: String,
    },
    /// A weight that the configuration needs is missing, or one is there that it has no place for.
    #[error("{weight} is {found}, the configuration {expected}")]
    Presence {
        /// The weight.
        weight: String,
        /// "missing" or "present".
        found: &'static str,
        /// What the configuration says.
        expected: &'static str,
    },
}

/// A decoder-only language model, ready to run.
#[derive(Debug)]
pub struct Model<B: Backend = CpuBackend> {
    config: ModelConfig,
    weights: Weights<B>,
    backend: B,
}

impl<B: Backend> Model<B> {
    /// Loads the model in a folder of Hugging Face layout. See [`crate::locate`] for naming a model by its hub id.
    ///
    /// # Errors
    /// [`ModelError::Load`] naming the file and the key or tensor.
    pub fn open(backend: B, folder: &Path) -> Result<Self, ModelError> {
        Self::open_with(backend, folder, &LoadOptions::default())
    }

    /// As [`Model::open`], with a choice of how the weights are held.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(backend: B, folder: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        let (config, weights) = load_with(&backend, folder, options)?;
        Self::new(config, weights, backend)
    }

    /// A model of these weights, every shape checked against the configuration.
    ///
    /// # Errors
    /// [`ModelError`] naming the first weight that does not fit.
    pub fn new(config: ModelConfig, weights: Weights<B>, backend: B) -> Result<Self, ModelError> {
        check_config(&config)?;
        Check {
            config: &config,
            backend: &backend,
        }
        .weights(&weights)?;
        Ok(Self {
            config,
            weights,
            backend,
        })
    }

    /// Everything of the arithmetic that is not a weight.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &Weights<B> {
        &self.weights
    }

    /// The backend that holds the weights.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The matrix of the unembedding, [vocab, d_model]: the embedding's own where the two are tied.
    #[must_use]
    pub fn unembed(&self) -> &B::Matrix {
        self.weights.unembed.as_ref().unwrap_or(&self.weights.embed)
    }

    /// Buffers for passes through this model; grow on first use and are reused after.
    #[must_use]
    pub fn workspace(&self) -> Workspace<B> {
        Workspace::new(self)
    }
}

fn check_config(config: &ModelConfig) -> Result<(), ModelError> {
    let refuse = |what: String| Err(ModelError::Config(what));
    for (name, value) in [
        ("d_model", config.d_model),
        ("n_layers", config.n_layers),
        ("n_heads", config.n_heads),
        ("n_kv_heads", config.n_kv_heads),
        ("d_head", config.d_head),
        ("d_mlp", config.d_mlp),
        ("vocab_size", config.vocab_size),
        ("max_positions", config.max_positions),
    ] {
        if value == 0 {
            return refuse(format!("{name} is 0"));
        }
    }
    if !config.n_heads.is_multiple_of(config.n_kv_heads) {
        return refuse(format!(
            "n_kv_heads {} does not divide n_heads {}",
            config.n_kv_heads, config.n_heads
        ));
    }
    if config.windows.len() != config.n_layers {
        return refuse(format!(
            "{} windows for {} blocks",
            config.windows.len(),
            config.n_layers
        ));
    }
    if config.windows.contains(&Some(0)) {
        return refuse("a sliding window of 0 positions".to_owned());
    }
    if matches!(config.positions, PositionKind::Rotary { .. }) && !config.d_head.is_multiple_of(2) {
        return refuse(format!("rotary positions with an odd d_head {}", config.d_head));
    }
    Ok(())
}

struct Check<'a, B: Backend> {
    config: &'a ModelConfig,
    backend: &'a B,
}

impl<B: Backend> Check<'_, B> {
    fn weights(&self, weights: &Weights<B>) -> Result<(), ModelError> {
        let c = self.config;
        self.matrix("embed", &weights.embed, c.vocab_size, c.d_model)?;
        present(
            "pos_embed",
            weights.pos_embed.is_some(),
            c.positions == PositionKind::Learned,
        )?;
        if let Some(matrix) = &weights.pos_embed {
            self.matrix("pos_embed", matrix, c.max_positions, c.d_model)?;
        }
        if weights.blocks.len() != c.n_layers {
            return Err(ModelError::Config(format!(
                "{} blocks of weights for n_layers {}",
                weights.blocks.len(),
                c.n_layers
            )));
        }
        for (l, block) in weights.blocks.iter().enumerate() {
            let at = |what: &str| format!("blocks.{l}.{what}");
            self.norm(&at("ln1"), &block.ln1)?;
            self.linear(
                &at("query"),
                &block.query,
                (c.n_heads * c.d_head, c.d_model),
                c.biases.query_key_value,
            )?;
            self.linear(
                &at("key"),
                &block.key,
                (c.n_kv_heads * c.d_head, c.d_model),
                c.biases.query_key_value,
            )?;
            self.linear(
                &at("value"),
                &block.value,
                (c.n_kv_heads * c.d_head, c.d_model),
                c.biases.query_key_value,
            )?;
            self.linear(
                &at("out"),
                &block.out,
                (c.d_model, c.n_heads * c.d_head),
                c.biases.attention_out,
            )?;
            self.norm(&at("ln2"), &block.ln2)?;
            present(&at("gate"), block.gate.is_some(), c.gated_mlp)?;
            if let Some(gate) = &block.gate {
                self.linear(&at("gate"), gate, (c.d_mlp, c.d_model), c.biases.mlp)?;
            }
            self.linear(&at("up"), &block.up, (c.d_mlp, c.d_model), c.biases.mlp)?;
            self.linear(&at("down"), &block.down, (c.d_model, c.d_mlp), c.biases.mlp)?;
        }
        self.norm("ln_final", &weights.ln_final)?;
        present("unembed", weights.unembed.is_some(), !c.tied)?;
        if let Some(matrix) = &weights.unembed {
            self.matrix("unembed", matrix, c.vocab_size, c.d_model)?;
        }
        Ok(())
    }

    fn matrix(&self, name: &str, matrix: &B::Matrix, rows: usize, columns: usize) -> Result<(), ModelError> {
        let found = self.backend.matrix_shape(matrix);
        if found == (rows, columns) {
            return Ok(());
        }
        Err(ModelError::Shape {
            weight: name.to_owned(),
            found: format!("[{}, {}]", found.0, found.1),
            expected: format!("[{rows}, {columns}]"),
        })
    }

    fn vector(&self, name: String, buffer: &B::Buffer, len: usize) -> Result<(), ModelError> {
        let found = self.backend.len(buffer);
        if found == len {
            return Ok(());
        }
        Err(ModelError::Shape {
            weight: name,
            found: format!("[{found}]"),
            expected: format!("[{len}]"),
        })
    }

    fn linear(
        &self,
        name: &str,
        linear: &Linear<B>,
        (rows, columns): (usize, usize),
        biased: bool,
    ) -> Result<(), ModelError> {
        self.matrix(name, &linear.weight, rows, columns)?;
        let name = format!("{name}.bias");
        present(&name, linear.bias.is_some(), biased)?;
        match &linear.bias {
            Some(bias) => self.vector(name, bias, rows),
            None => Ok(()),
        }
    }

    fn norm(&self, name: &str, norm: &NormWeights<B>) -> Result<(), ModelError> {
        self.vector(format!("{name}.weight"), &norm.weight, self.config.d_model)?;
        let name = format!("{name}.bias");
        present(&name, norm.bias.is_some(), self.config.norm == NormKind::Layer)?;
        match &norm.bias {
            Some(bias) => self.vector(name, bias, self.config.d_model),
            None => Ok(()),
        }
    }
}

fn present(weight: &str, found: bool, expected: bool) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = if found {
        ("present", "has no place for it")
    } else {
        ("missing", "needs it")
    };
    Err(ModelError::Presence {
        weight: weight.to_owned(),
        found,
        expected,
    })
}
