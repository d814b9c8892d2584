//! Sizes of a Llama-architecture model, and where each weight lies in one flat buffer.

use std::ops::Range;

/// Sizes and constants of the architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the gated MLP.
    pub intermediate: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f64,
    /// Longest sequence that the model claims to take.
    pub max_positions: usize,
}

impl Shape {
    /// Width of all query heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads.
    pub fn key_value_width(&self) -> usize {
        self.key_value_heads * self.head_dim
    }
}

/// One weight of the checkpoint.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Hugging Face name.
    pub name: String,
    /// [out, in] for matrices, [n] for norms.
    pub shape: Vec<usize>,
    /// Place in the flat buffer.
    pub range: Range<usize>,
}

/// Places of the weights of one block.
#[derive(Clone, Debug)]
pub struct BlockPlaces {
    /// Norm before attention, [d_model].
    pub attention_norm: Range<usize>,
    /// Query projection, [heads * head_dim, d_model].
    pub query: Range<usize>,
    /// Key projection, [key_value_heads * head_dim, d_model].
    pub key: Range<usize>,
    /// Value projection, [key_value_heads * head_dim, d_model].
    pub value: Range<usize>,
    /// Output projection, [d_model, heads * head_dim].
    pub output: Range<usize>,
    /// Norm before the MLP, [d_model].
    pub mlp_norm: Range<usize>,
    /// Gate projection, [intermediate, d_model].
    pub gate: Range<usize>,
    /// Up projection, [intermediate, d_model].
    pub up: Range<usize>,
    /// Down projection, [d_model, intermediate].
    pub down: Range<usize>,
}

/// Places of all weights.
#[derive(Clone, Debug)]
pub struct Places {
    /// Token embedding, tied to the head, [vocabulary, d_model].
    pub embedding: Range<usize>,
    /// The blocks in order.
    pub blocks: Vec<BlockPlaces>,
    /// Norm before the head, [d_model].
    pub final_norm: Range<usize>,
    /// All of them with names and shapes, in buffer order.
    pub tensors: Vec<Tensor>,
}

impl Places {
    /// Lays out the weights of a shape.
    pub fn new(shape: &Shape) -> Self {
        let (d, i) = (shape.d_model, shape.intermediate);
        let (q, kv) = (shape.query_width(), shape.key_value_width());
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut place = |name: String, shape: &[usize]| {
            let start = tensors.last().map_or(0, |tensor| tensor.range.end);
            let range = start..start + shape.iter().product::<usize>();
            tensors.push(Tensor {
                name,
                shape: shape.to_vec(),
                range: range.clone(),
            });
            range
        };
        let embedding = place("model.embed_tokens.weight".into(), &[shape.vocabulary, d]);
        let blocks = (0..shape.layers)
            .map(|layer| {
                let mut at =
                    |name: &str, shape: &[usize]| place(format!("model.layers.{layer}.{name}.weight"), shape);
                BlockPlaces {
                    attention_norm: at("input_layernorm", &[d]),
                    query: at("self_attn.q_proj", &[q, d]),
                    key: at("self_attn.k_proj", &[kv, d]),
                    value: at("self_attn.v_proj", &[kv, d]),
                    output: at("self_attn.o_proj", &[d, q]),
                    mlp_norm: at("post_attention_layernorm", &[d]),
                    gate: at("mlp.gate_proj", &[i, d]),
                    up: at("mlp.up_proj", &[i, d]),
                    down: at("mlp.down_proj", &[d, i]),
                }
            })
            .collect();
        let final_norm = place("model.norm.weight".into(), &[d]);
        Self {
            embedding,
            blocks,
            final_norm,
            tensors,
        }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.final_norm.end
    }
}
