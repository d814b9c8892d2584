//! Buffers of a pass back, made once and reused.

use glassbox_kernels::Backend;

use crate::forward::{PassLayout, grow};
use crate::model::Model;

/// Gradients with respect to the values of a pass, in buffers that are reused between passes back.
#[derive(Debug)]
pub(super) struct Gradients<B: Backend> {
    /// [rows, d_model].
    pub(super) resid: B::Buffer,
    /// [rows, d_model].
    pub(super) branch: B::Buffer,
    /// [rows, d_model].
    pub(super) normalized: B::Buffer,
    /// [rows].
    pub(super) scale: B::Buffer,
    /// The scale itself, computed again [rows].
    pub(super) scale_value: B::Buffer,
    pub(super) query: B::Buffer,
    pub(super) key: B::Buffer,
    pub(super) value: B::Buffer,
    pub(super) mixed: B::Buffer,
    /// The pattern itself, computed again [batch, heads, queries, keys].
    pub(super) pattern_value: B::Buffer,
    pub(super) pattern: B::Buffer,
    pub(super) mlp_post: B::Buffer,
    pub(super) mlp_pre: B::Buffer,
    pub(super) mlp_pre_linear: B::Buffer,
}

impl<B: Backend> Gradients<B> {
    pub(super) fn new(backend: &B) -> Self {
        let empty = || backend.zeros(0);
        Self {
            resid: empty(),
            branch: empty(),
            normalized: empty(),
            scale: empty(),
            scale_value: empty(),
            query: empty(),
            key: empty(),
            value: empty(),
            mixed: empty(),
            pattern_value: empty(),
            pattern: empty(),
            mlp_post: empty(),
            mlp_pre: empty(),
            mlp_pre_linear: empty(),
        }
    }

    pub(super) fn reserve(&mut self, model: &Model<B>, layout: &PassLayout) {
        let (config, backend) = (model.config(), model.backend());
        let rows = layout.batch() * layout.queries();
        let (heads, kv_heads) = (config.n_heads * config.d_head, config.n_kv_heads * config.d_head);
        let scores = layout.batch() * config.n_heads * layout.queries() * layout.keys();
        for (buffer, len) in [
            (&mut self.resid, rows * config.d_model),
            (&mut self.branch, rows * config.d_model),
            (&mut self.normalized, rows * config.d_model),
            (&mut self.scale, rows),
            (&mut self.scale_value, rows),
            (&mut self.query, rows * heads),
            (&mut self.key, rows * kv_heads),
            (&mut self.value, rows * kv_heads),
            (&mut self.mixed, rows * heads),
            (&mut self.pattern_value, scores),
            (&mut self.pattern, scores),
            (&mut self.mlp_post, rows * config.d_mlp),
            (&mut self.mlp_pre, rows * config.d_mlp),
            (&mut self.mlp_pre_linear, rows * config.d_mlp),
        ] {
            grow(backend, buffer, len);
        }
    }
}
