//! Tiny random models of every family, made without files, on any backend.

use glassbox_kernels::Backend;
use glassbox_kernels::backend::{ActivationKind, NormKind, StoredValues};
use glassbox_model::config::{Family, LinearBiases, ModelConfig, PositionKind, RotaryScaling};
use glassbox_model::model::Model;
use glassbox_model::weights::{BlockWeights, Linear, NormWeights, Weights};

/// A small generator of numbers in [−1, 1), equal everywhere.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        ((self.next() + 1.0) / 2.0 * limit as f32) as u32 % limit
    }

    pub fn list(&mut self, count: usize, centre: f32, spread: f32) -> Vec<f32> {
        (0..count).map(|_| centre + spread * self.next()).collect()
    }

    /// A prompt of this many tokens.
    pub fn tokens(&mut self, count: usize, config: &ModelConfig) -> Vec<u32> {
        (0..count).map(|_| self.below(config.vocab_size as u32)).collect()
    }
}

pub const FAMILIES: [Family; 4] = [Family::Llama, Family::Mistral, Family::Qwen2, Family::Gpt2];

/// Three blocks, so that there is one between the first and the last.
pub fn config(family: Family) -> ModelConfig {
    let gpt2 = family == Family::Gpt2;
    let d_head = 4;
    ModelConfig {
        family,
        d_model: 12,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: if gpt2 { 4 } else { 2 },
        d_head,
        d_mlp: 20,
        vocab_size: 29,
        max_positions: 48,
        norm: if gpt2 { NormKind::Layer } else { NormKind::Rms },
        norm_eps: 1e-5,
        positions: if gpt2 {
            PositionKind::Learned
        } else {
            PositionKind::Rotary {
                theta: 100.0,
                scaling: RotaryScaling::None,
            }
        },
        activation: if gpt2 {
            ActivationKind::GeluTanh
        } else {
            ActivationKind::Silu
        },
        gated_mlp: !gpt2,
        biases: LinearBiases {
            query_key_value: gpt2 || family == Family::Qwen2,
            attention_out: gpt2,
            mlp: gpt2,
        },
        attention_scale: 1.0 / (d_head as f32).sqrt(),
        windows: vec![(family == Family::Mistral).then_some(5); 3],
        tied: matches!(family, Family::Qwen2 | Family::Gpt2),
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    }
}

/// Wide enough that products are divided among threads.
pub fn wide_config(family: Family) -> ModelConfig {
    ModelConfig {
        d_model: 64,
        d_head: 16,
        d_mlp: 256,
        vocab_size: 499,
        ..config(family)
    }
}

/// A model with random weights that make attention uneven and every part matter.
pub fn model<B: Backend>(backend: &B, family: Family, seed: u64) -> Model<B> {
    model_of(backend, config(family), seed)
}

/// As [`model`], of any configuration.
pub fn model_of<B: Backend>(backend: &B, c: ModelConfig, seed: u64) -> Model<B> {
    let mut made = Maker {
        backend,
        numbers: Numbers::new(seed),
    };
    let gpt2 = c.family == Family::Gpt2;
    let biases = c.biases;
    let (heads, kv_heads) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
    let blocks = (0..c.n_layers)
        .map(|_| BlockWeights {
            ln1: made.norm(c.d_model, gpt2),
            query: made.linear(heads, c.d_model, biases.query_key_value),
            key: made.linear(kv_heads, c.d_model, biases.query_key_value),
            value: made.linear(kv_heads, c.d_model, biases.query_key_value),
            out: made.linear(c.d_model, heads, biases.attention_out),
            ln2: made.norm(c.d_model, gpt2),
            gate: c.gated_mlp.then(|| made.linear(c.d_mlp, c.d_model, biases.mlp)),
            up: made.linear(c.d_mlp, c.d_model, biases.mlp),
            down: made.linear(c.d_model, c.d_mlp, biases.mlp),
        })
        .collect();
    let weights = Weights {
        embed: made.matrix(c.vocab_size, c.d_model),
        pos_embed: gpt2.then(|| made.matrix(c.max_positions, c.d_model)),
        blocks,
        ln_final: made.norm(c.d_model, gpt2),
        unembed: (!c.tied).then(|| made.matrix(c.vocab_size, c.d_model)),
    };
    Model::new(c, weights, backend.clone()).unwrap()
}

struct Maker<'a, B: Backend> {
    backend: &'a B,
    numbers: Numbers,
}

impl<B: Backend> Maker<'_, B> {
    fn matrix(&mut self, rows: usize, columns: usize) -> B::Matrix {
        let values = self
            .numbers
            .list(rows * columns, 0.0, 2.0 / (columns as f32).sqrt());
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.backend
            .matrix(StoredValues::F32(&bytes), rows, columns)
            .unwrap()
    }

    fn vector(&mut self, count: usize, centre: f32, spread: f32) -> B::Buffer {
        self.backend.upload(&self.numbers.list(count, centre, spread))
    }

    fn linear(&mut self, rows: usize, columns: usize, bias: bool) -> Linear<B> {
        let weight = self.matrix(rows, columns);
        Linear {
            weight,
            bias: bias.then(|| self.vector(rows, 0.0, 0.3)),
        }
    }

    fn norm(&mut self, width: usize, bias: bool) -> NormWeights<B> {
        let weight = self.vector(width, 1.0, 0.4);
        NormWeights {
            weight,
            bias: bias.then(|| self.vector(width, 0.0, 0.2)),
        }
    }
}
