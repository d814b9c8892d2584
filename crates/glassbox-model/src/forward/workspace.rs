//! Buffers of a pass, made once and reused.

use glassbox_kernels::Backend;

use crate::forward::layout::PassLayout;
use crate::forward::request::LogitPosition;
use crate::forward::rotary_tables::RotaryTables;
use crate::model::Model;

/// Values of one pass. Each buffer holds at least what its comment says.
#[derive(Debug)]
pub(crate) struct Buffers<B: Backend> {
    /// The residual stream [rows, d_model].
    pub(crate) resid: B::Buffer,
    /// Output of a norm [rows, d_model].
    pub(crate) normalized: B::Buffer,
    /// A norm's scale [rows].
    pub(crate) scale: B::Buffer,
    /// [rows, heads, d_head].
    pub(crate) query: B::Buffer,
    /// [rows, kv_heads, d_head].
    pub(crate) key: B::Buffer,
    /// [rows, kv_heads, d_head].
    pub(crate) value: B::Buffer,
    /// [batch, heads, queries, keys]; only where scores are written out.
    pub(crate) scores: B::Buffer,
    /// [rows, heads, d_head].
    pub(crate) mixed: B::Buffer,
    /// What attention or MLP adds to the residual stream [rows, d_model].
    pub(crate) branch: B::Buffer,
    /// Argument of the activation [rows, d_mlp].
    pub(crate) mlp_pre: B::Buffer,
    /// Linear branch of a gated MLP [rows, d_mlp].
    pub(crate) mlp_pre_linear: B::Buffer,
    /// [rows, d_mlp].
    pub(crate) mlp_post: B::Buffer,
    /// Rows whose logits are wanted [k, d_model].
    pub(crate) chosen: B::Buffer,
    /// [k, vocab].
    pub(crate) logits: B::Buffer,
}

/// Memory for passes through one model: grows when a pass needs more, is reused otherwise.
#[derive(Debug)]
pub struct Workspace<B: Backend> {
    pub(crate) layout: PassLayout,
    pub(crate) buffers: Buffers<B>,
    pub(crate) rotary: Option<RotaryTables<B>>,
    /// Rows of the residual whose logits are wanted.
    pub(crate) logit_rows: Vec<u32>,
    pub(crate) logit_positions: Vec<LogitPosition>,
}

impl<B: Backend> Workspace<B> {
    pub(crate) fn new(model: &Model<B>) -> Self {
        let empty = || model.backend().zeros(0);
        Self {
            layout: PassLayout::default(),
            buffers: Buffers {
                resid: empty(),
                normalized: empty(),
                scale: empty(),
                query: empty(),
                key: empty(),
                value: empty(),
                scores: empty(),
                mixed: empty(),
                branch: empty(),
                mlp_pre: empty(),
                mlp_pre_linear: empty(),
                mlp_post: empty(),
                chosen: empty(),
                logits: empty(),
            },
            rotary: RotaryTables::new(model),
            logit_rows: Vec::new(),
            logit_positions: Vec::new(),
        }
    }

    /// Logits of the last pass on the device: one row of `vocab_size` per logit position of that pass.
    #[must_use]
    pub fn logits(&self) -> &B::Buffer {
        &self.buffers.logits
    }

    /// Row and position of each row of [`Workspace::logits`].
    #[must_use]
    pub fn logit_positions(&self) -> &[LogitPosition] {
        &self.logit_positions
    }

    /// The residual stream at the end of the last pass on the device, [batch, pos, d_model]: `hook_resid_post` of the
    /// last block that was computed.
    #[must_use]
    pub fn resid(&self) -> &B::Buffer {
        &self.buffers.resid
    }

    /// Rows, slots and positions of the last pass.
    #[must_use]
    pub fn layout(&self) -> &PassLayout {
        &self.layout
    }

    /// Makes room for the pass in `layout`.
    pub(crate) fn reserve(&mut self, model: &Model<B>) {
        let (config, backend) = (model.config(), model.backend());
        let rows = self.layout.rows();
        let buffers = &mut self.buffers;
        let (heads, kv_heads) = (config.n_heads * config.d_head, config.n_kv_heads * config.d_head);
        grow(backend, &mut buffers.resid, rows * config.d_model);
        grow(backend, &mut buffers.normalized, rows * config.d_model);
        grow(backend, &mut buffers.scale, rows);
        grow(backend, &mut buffers.query, rows * heads);
        grow(backend, &mut buffers.key, rows * kv_heads);
        grow(backend, &mut buffers.value, rows * kv_heads);
        grow(backend, &mut buffers.mixed, rows * heads);
        grow(backend, &mut buffers.branch, rows * config.d_model);
        grow(backend, &mut buffers.mlp_pre, rows * config.d_mlp);
        if config.gated_mlp {
            grow(backend, &mut buffers.mlp_pre_linear, rows * config.d_mlp);
        }
        grow(backend, &mut buffers.mlp_post, rows * config.d_mlp);
        if let Some(rotary) = &mut self.rotary {
            rotary.reserve(model, &self.layout);
        }
    }
}

/// Replaces the buffer by a longer one if it holds fewer than `len` elements. The content is lost then.
pub(crate) fn grow<B: Backend>(backend: &B, buffer: &mut B::Buffer, len: usize) {
    if backend.len(buffer) < len {
        *buffer = backend.zeros(len);
    }
}
