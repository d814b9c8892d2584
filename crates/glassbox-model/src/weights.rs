//! A model's weights on a device, in the order the pass uses them.

use glassbox_kernels::Backend;

/// A linear map with frozen weights: y = x · weightᵀ + bias.
#[derive(Debug)]
pub struct Linear<B: Backend> {
    /// [out, in].
    pub weight: B::Matrix,
    /// [out].
    pub bias: Option<B::Buffer>,
}

/// Weight and bias of a norm.
#[derive(Debug)]
pub struct NormWeights<B: Backend> {
    /// [d_model].
    pub weight: B::Buffer,
    /// [d_model]; layer norm only.
    pub bias: Option<B::Buffer>,
}

/// One decoder block.
#[derive(Debug)]
pub struct BlockWeights<B: Backend> {
    /// Before attention.
    pub ln1: NormWeights<B>,
    /// [n_heads · d_head, d_model].
    pub query: Linear<B>,
    /// [n_kv_heads · d_head, d_model].
    pub key: Linear<B>,
    /// [n_kv_heads · d_head, d_model].
    pub value: Linear<B>,
    /// [d_model, n_heads · d_head].
    pub out: Linear<B>,
    /// Before the MLP.
    pub ln2: NormWeights<B>,
    /// [d_mlp, d_model]; gated MLPs only.
    pub gate: Option<Linear<B>>,
    /// [d_mlp, d_model].
    pub up: Linear<B>,
    /// [d_model, d_mlp].
    pub down: Linear<B>,
}

/// All weights of a model.
#[derive(Debug)]
pub struct Weights<B: Backend> {
    /// [vocab, d_model].
    pub embed: B::Matrix,
    /// [max_positions, d_model]; learned positions only.
    pub pos_embed: Option<B::Matrix>,
    /// The blocks, from the embedding up.
    pub blocks: Vec<BlockWeights<B>>,
    /// Before the unembedding.
    pub ln_final: NormWeights<B>,
    /// [vocab, d_model]; `None` when the unembedding is `embed`.
    pub unembed: Option<B::Matrix>,
}
