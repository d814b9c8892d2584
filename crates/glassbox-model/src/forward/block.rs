//! One decoder block, driven by the configuration.

use glassbox_kernels::Backend;
use glassbox_kernels::backend::{NormKind, SharedKeys};

use crate::cache::LayerSlots;
use crate::forward::hooks::Hooks;
use crate::forward::rotary_tables::RotaryTables;
use crate::forward::workspace::{Buffers, grow};
use crate::forward_error::ForwardError;
use crate::model::Model;
use crate::site::{Norm, Site};
use crate::weights::{BlockWeights, NormWeights};

/// Runs block `l` on the residual stream in `buffers.resid`, from after `hook_resid_pre` to before `hook_resid_post`. With
/// a cache the new keys and values are put there and the queries see all of its slots, without one they see each other
/// only.
pub(super) fn decoder_block<B: Backend>(
    model: &Model<B>,
    l: usize,
    buffers: &mut Buffers<B>,
    rotary: Option<&RotaryTables<B>>,
    cache: Option<LayerSlots<'_, B>>,
    hooks: &mut Hooks<'_, B>,
) -> Result<(), ForwardError> {
    let (config, backend) = (model.config(), model.backend());
    let rows = hooks.layout.rows();
    let residual = rows * config.d_model;
    let weights = &model.weights().blocks[l];
    let layer = l as u32;

    norm(model, Norm::Attention(layer), &weights.ln1, rows, buffers, hooks)?;
    attention(model, l, weights, buffers, rotary, cache, hooks)?;
    hooks.at(Site::AttentionOut(layer), &mut buffers.branch)?;
    backend.add(&buffers.branch, residual, &mut buffers.resid)?;

    hooks.at(Site::ResidMid(layer), &mut buffers.resid)?;
    norm(model, Norm::Mlp(layer), &weights.ln2, rows, buffers, hooks)?;
    mlp(model, layer, weights, buffers, hooks)?;
    hooks.at(Site::MlpOut(layer), &mut buffers.branch)?;
    backend.add(&buffers.branch, residual, &mut buffers.resid)?;
    Ok(())
}

/// Normalises the first `rows` rows of the residual stream into `buffers.normalized`.
pub(super) fn norm<B: Backend>(
    model: &Model<B>,
    norm: Norm,
    weights: &NormWeights<B>,
    rows: usize,
    buffers: &mut Buffers<B>,
    hooks: &mut Hooks<'_, B>,
) -> Result<(), ForwardError> {
    let (config, backend) = (model.config(), model.backend());
    let (kind, width) = (config.norm, config.d_model);
    let Buffers {
        resid,
        scale,
        normalized,
        ..
    } = buffers;
    backend.norm_scale(kind, resid, rows, width, config.norm_eps, scale)?;
    hooks.at(Site::NormScale(norm), scale)?;
    let site = Site::NormNormalized(norm);
    if kind == NormKind::Rms && hooks.wants(site) {
        // The site lies before the weight, so the two steps are taken apart.
        backend.norm_apply(kind, resid, scale, rows, width, None, None, normalized)?;
        hooks.at(site, normalized)?;
        backend.multiply_rows(normalized, rows, width, &weights.weight)?;
        return Ok(());
    }
    let bias = weights.bias.as_ref();
    backend.norm_apply(
        kind,
        resid,
        scale,
        rows,
        width,
        Some(&weights.weight),
        bias,
        normalized,
    )?;
    match kind {
        NormKind::Rms => Ok(()),
        NormKind::Layer => hooks.at(site, normalized),
    }
}

/// From `buffers.normalized` to what attention adds, in `buffers.branch`.
fn attention<B: Backend>(
    model: &Model<B>,
    l: usize,
    weights: &BlockWeights<B>,
    buffers: &mut Buffers<B>,
    rotary: Option<&RotaryTables<B>>,
    cache: Option<LayerSlots<'_, B>>,
    hooks: &mut Hooks<'_, B>,
) -> Result<(), ForwardError> {
    let (config, backend) = (model.config(), model.backend());
    let rows = hooks.layout.rows();
    let layer = l as u32;
    let Buffers {
        normalized,
        query,
        key,
        value,
        scores,
        mixed,
        branch,
        ..
    } = buffers;

    backend.linear(
        normalized,
        rows,
        &weights.query.weight,
        weights.query.bias.as_ref(),
        query,
    )?;
    hooks.at(Site::Query(layer), query)?;
    backend.linear(
        normalized,
        rows,
        &weights.key.weight,
        weights.key.bias.as_ref(),
        key,
    )?;
    hooks.at(Site::Key(layer), key)?;
    backend.linear(
        normalized,
        rows,
        &weights.value.weight,
        weights.value.bias.as_ref(),
        value,
    )?;
    hooks.at(Site::Value(layer), value)?;
    if let Some(tables) = rotary {
        tables.turn(backend, query, config.n_heads, config.d_head, hooks.layout, false)?;
        hooks.at(Site::RotaryQuery(layer), query)?;
        tables.turn(
            backend,
            key,
            config.n_kv_heads,
            config.d_head,
            hooks.layout,
            false,
        )?;
        hooks.at(Site::RotaryKey(layer), key)?;
    }

    type Slots<'a, B> = (
        &'a <B as Backend>::Buffer,
        &'a <B as Backend>::Buffer,
        usize,
        Option<SharedKeys<'a, <B as Backend>::Buffer>>,
    );
    let (keys, values, capacity, shared): Slots<'_, B> = match cache {
        Some(LayerSlots {
            key: keys,
            value: values,
            capacity,
            shared,
        }) => {
            let shape = hooks.layout.attention_shape(config, l, capacity);
            backend.cache_write(key, &shape, keys)?;
            backend.cache_write(value, &shape, values)?;
            (keys, values, capacity, shared)
        }
        None => (key, value, hooks.layout.queries(), None),
    };
    let shape = hooks.layout.attention_shape(config, l, capacity);
    if hooks.wants(Site::AttentionScores(layer)) || hooks.wants(Site::AttentionPattern(layer)) {
        if shared.is_some() {
            return Err(ForwardError::SharedScores { layer });
        }
        let score_rows = shape.batch * shape.heads * shape.queries;
        grow(backend, scores, score_rows * shape.keys);
        backend.attention_scores(query, keys, &shape, hooks.layout.first_key(), scores)?;
        edit_scores(model, l, scores, hooks)?;
        backend.softmax(scores, score_rows, shape.keys)?;
        hooks.at(Site::AttentionPattern(layer), scores)?;
        backend.attention_mix(scores, values, &shape, mixed)?;
    } else if let Some(mut shared) = shared {
        let first_key = hooks.layout.first_key();
        shared.prompt = &shared.prompt[..shape.batch];
        backend.attention_after_shared(query, &shared, keys, values, &shape, first_key, mixed)?;
    } else {
        backend.attention(query, keys, values, &shape, hooks.layout.first_key(), mixed)?;
    }
    hooks.at(Site::Mixed(layer), mixed)?;
    backend.linear(
        mixed,
        rows,
        &weights.out.weight,
        weights.out.bias.as_ref(),
        branch,
    )?;
    Ok(())
}

/// Edits and shows the scores. An edit can't lift the mask: what a query must not see stays at −inf, or an edit
/// such as "scores times zero" would let it see the future.
fn edit_scores<B: Backend>(
    model: &Model<B>,
    l: usize,
    scores: &mut B::Buffer,
    hooks: &mut Hooks<'_, B>,
) -> Result<(), ForwardError> {
    let site = Site::AttentionScores(l as u32);
    if hooks.edits(site) {
        hooks.edit(site, scores)?;
        let backend = model.backend();
        let mask = backend.upload(&score_mask(model, l, hooks));
        backend.add(&mask, backend.len(&mask), scores)?;
    }
    hooks.visit(site, scores)
}

/// 0 where a query sees a slot, −inf elsewhere: [batch, heads, queries, keys].
fn score_mask<B: Backend>(model: &Model<B>, l: usize, hooks: &Hooks<'_, B>) -> Vec<f32> {
    let layout = &*hooks.layout;
    let window = model.config().windows[l];
    let mut mask =
        Vec::with_capacity(layout.batch() * model.config().n_heads * layout.queries() * layout.keys());
    for &first in layout.first_key() {
        for _ in 0..model.config().n_heads {
            for query in 0..layout.queries() {
                let slot = layout.first_slot() + query;
                mask.extend((0..layout.keys()).map(|key| {
                    let seen = key >= first as usize
                        && key <= slot
                        && window.is_none_or(|window| key + window > slot);
                    if seen { 0.0 } else { f32::NEG_INFINITY }
                }));
            }
        }
    }
    mask
}

/// From `buffers.normalized` to what the MLP adds, in `buffers.branch`.
fn mlp<B: Backend>(
    model: &Model<B>,
    layer: u32,
    weights: &BlockWeights<B>,
    buffers: &mut Buffers<B>,
    hooks: &mut Hooks<'_, B>,
) -> Result<(), ForwardError> {
    let (config, backend) = (model.config(), model.backend());
    let rows = hooks.layout.rows();
    let count = rows * config.d_mlp;
    let Buffers {
        normalized,
        mlp_pre,
        mlp_pre_linear,
        mlp_post,
        branch,
        ..
    } = buffers;
    let (up, up_bias) = (&weights.up.weight, weights.up.bias.as_ref());
    hooks.at(Site::MlpIn(layer), normalized)?;
    match &weights.gate {
        Some(gate) => {
            backend.linear(normalized, rows, &gate.weight, gate.bias.as_ref(), mlp_pre)?;
            hooks.at(Site::MlpPre(layer), mlp_pre)?;
            backend.linear(normalized, rows, up, up_bias, mlp_pre_linear)?;
            hooks.at(Site::MlpPreLinear(layer), mlp_pre_linear)?;
            backend.gated_activation(config.activation, mlp_pre, mlp_pre_linear, count, mlp_post)?;
        }
        None => {
            backend.linear(normalized, rows, up, up_bias, mlp_pre)?;
            hooks.at(Site::MlpPre(layer), mlp_pre)?;
            backend.activation(config.activation, mlp_pre, count, mlp_post)?;
        }
    }
    hooks.at(Site::MlpPost(layer), mlp_post)?;
    backend.linear(
        mlp_post,
        rows,
        &weights.down.weight,
        weights.down.bias.as_ref(),
        branch,
    )?;
    Ok(())
}
