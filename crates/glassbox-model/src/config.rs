//! What a `config.json` says about the arithmetic of a model.

use std::fmt;

use glassbox_kernels::backend::{ActivationKind, NormKind};

/// A supported family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 2, 3, 3.1, 3.2 (`model_type` "llama").
    Llama,
    /// Mistral (`model_type` "mistral").
    Mistral,
    /// Qwen2 and Qwen2.5 (`model_type` "qwen2").
    Qwen2,
    /// GPT-2 (`model_type` "gpt2").
    Gpt2,
}

impl Family {
    /// Every supported family.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Gpt2];

    /// The family's `model_type` in `config.json`.
    #[must_use]
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Gpt2 => "gpt2",
        }
    }

    /// The entry of `architectures` in `config.json` for a language model of this family.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Gpt2 => "GPT2LMHeadModel",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

/// How rotary frequencies are stretched for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    None,
    /// Positions divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's rule: low frequencies divided by `factor`, high ones kept, a smooth passage between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths longer than original / this are divided.
        low_freq_factor: f64,
        /// Wavelengths shorter than original / this are kept.
        high_freq_factor: f64,
        /// Context length of the original training.
        original_max_position_embeddings: f64,
    },
}

/// How a model knows positions.
#[derive(Clone, Debug, PartialEq)]
pub enum PositionKind {
    /// Rotary embedding of queries and keys.
    Rotary {
        /// Base of the frequencies.
        theta: f64,
        /// Stretching of the frequencies.
        scaling: RotaryScaling,
    },
    /// A learned vector added to the embedding.
    Learned,
}

/// Which linear maps of a block carry a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearBiases {
    /// Query, key and value.
    pub query_key_value: bool,
    /// The attention's output map.
    pub attention_out: bool,
    /// Gate, up and down.
    pub mlp: bool,
}

/// Everything of a model's arithmetic that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub family: Family,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Neurons of an MLP.
    pub d_mlp: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence. With linear rotary scaling, `max_position_embeddings` times the factor.
    pub max_positions: usize,
    /// Kind of every norm.
    pub norm: NormKind,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// How positions enter.
    pub positions: PositionKind,
    /// Non-linearity of the MLPs.
    pub activation: ActivationKind,
    /// Whether MLPs are gated (act(gate)·up) or plain (act(up)).
    pub gated_mlp: bool,
    /// Which linear maps have biases.
    pub biases: LinearBiases,
    /// Factor on q·k before the softmax.
    pub attention_scale: f32,
    /// Sliding window of each block, the query's own position included; `None` is full attention. Length `n_layers`.
    pub windows: Vec<Option<usize>>,
    /// Whether the unembedding is the embedding's matrix.
    pub tied: bool,
    /// Beginning-of-sequence token, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
}
