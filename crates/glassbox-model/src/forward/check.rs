//! Checks of a request, before anything is computed.

use std::ops::Range;

use glassbox_kernels::Backend;

use crate::batch::TokenBatch;
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::forward::layout::PassLayout;
use crate::forward::request::{LogitPosition, LogitPositions, Start};
use crate::forward_error::ForwardError;
use crate::program::Reach;

/// The blocks that a pass from `start` to `stop_after` computes.
pub(super) fn layers<B: Backend>(
    config: &ModelConfig,
    start: &Start<'_, B>,
    stop_after: Option<u32>,
) -> Result<Range<usize>, ForwardError> {
    let n = config.n_layers;
    let first = match *start {
        Start::Embedding => 0,
        Start::Layer { layer, .. } if layer as usize <= n => layer as usize,
        Start::Layer { layer, .. } => {
            return Err(ForwardError::Layer {
                what: "start layer",
                layer,
                first: 0,
                last: n,
            });
        }
    };
    match stop_after {
        None => Ok(first..n),
        Some(layer) if (first..n).contains(&(layer as usize)) => Ok(first..layer as usize + 1),
        Some(layer) => Err(ForwardError::Layer {
            what: "stop layer",
            layer,
            first,
            last: n.saturating_sub(1),
        }),
    }
}

/// That per-row lists have one entry per row, and that the cache can be continued.
pub(super) fn rows<B: Backend>(
    batch: &TokenBatch,
    cache: Option<&KvCache<B>>,
    lists: [(&'static str, Option<&[u32]>); 3],
) -> Result<(), ForwardError> {
    let count = |what, found| {
        let batch = batch.rows();
        if found == batch {
            Ok(())
        } else {
            Err(ForwardError::RowCount { what, found, batch })
        }
    };
    for (what, list) in lists {
        if let Some(list) = list {
            count(what, list.len())?;
        }
    }
    if let Some(cache) = cache {
        count("the cache", cache.batch())?;
        let ragged = batch
            .lengths()
            .iter()
            .position(|&length| length as usize != batch.width());
        if let (Some(row), true) = (ragged, cache.filled() > 0) {
            let found = batch.lengths()[row];
            return Err(ForwardError::RaggedContinuation {
                row,
                found,
                width: batch.width(),
            });
        }
    }
    Ok(())
}

/// That no row is longer than the context.
pub(super) fn context(config: &ModelConfig, layout: &PassLayout) -> Result<(), ForwardError> {
    for row in 0..layout.batch() {
        let length = (layout.keys() as i64 - layout.origin(row)).max(0) as usize;
        if length > config.max_positions {
            return Err(ForwardError::ContextTooLong {
                row,
                length,
                max_positions: config.max_positions,
            });
        }
    }
    Ok(())
}

/// That every token id is in the vocabulary.
pub(super) fn tokens(
    config: &ModelConfig,
    batch: &TokenBatch,
    layout: &PassLayout,
) -> Result<(), ForwardError> {
    match batch
        .ids()
        .iter()
        .position(|&token| token as usize >= config.vocab_size)
    {
        None => Ok(()),
        Some(index) => Err(ForwardError::TokenOutOfRange {
            row: index / batch.width(),
            position: layout.position_ids()[index] as usize,
            token: batch.ids()[index],
            last: config.vocab_size - 1,
        }),
    }
}

/// Rows of the residual stream whose logits are wanted, and their positions.
pub(super) fn logit_rows(
    wanted: &LogitPositions,
    layout: &PassLayout,
    positions: &mut Vec<LogitPosition>,
    rows: &mut Vec<u32>,
) -> Result<(), ForwardError> {
    positions.clear();
    rows.clear();
    match wanted {
        LogitPositions::None => {}
        LogitPositions::Last => {
            let last = layout.queries() - 1;
            positions.extend((0..layout.batch()).filter_map(|row| {
                let position = layout.position(row, last)?;
                Some(LogitPosition {
                    row: row as u32,
                    position,
                })
            }));
        }
        LogitPositions::All => {
            for row in 0..layout.batch() {
                positions.extend((0..layout.queries()).filter_map(|query| {
                    let position = layout.position(row, query)?;
                    Some(LogitPosition {
                        row: row as u32,
                        position,
                    })
                }));
            }
        }
        LogitPositions::Chosen(chosen) => positions.extend_from_slice(chosen),
    }
    for &LogitPosition { row, position } in positions.iter() {
        let missing = |reason: String| ForwardError::LogitPosition {
            row,
            position,
            reason,
        };
        if row as usize >= layout.batch() {
            return Err(missing(format!(
                "the batch has rows 0 to {}",
                layout.batch().saturating_sub(1)
            )));
        }
        let query = layout.query(row as usize, position).ok_or_else(|| {
            let computed = computed_positions(layout, row as usize);
            missing(format!(
                "this pass computes positions {} to {} of the row",
                computed.start,
                computed.end.saturating_sub(1)
            ))
        })?;
        rows.push((row as usize * layout.queries() + query) as u32);
    }
    Ok(())
}

/// Positions of a row that a pass computes.
pub(super) fn computed_positions(layout: &PassLayout, row: usize) -> Range<u32> {
    let position = |slot: usize| (slot as i64 - layout.origin(row)).max(0) as u32;
    position(layout.first_slot())..position(layout.keys())
}

/// What a single pass computes, for the check of its program.
pub(super) fn reach(layout: &PassLayout, layers: Range<usize>, embedding: bool, head: bool) -> Reach {
    let rows = 0..layout.batch();
    Reach {
        layers,
        embedding,
        head,
        positions: rows.clone().map(|row| computed_positions(layout, row)).collect(),
        prompt_lengths: rows.map(|row| layout.prompt_length(row)).collect(),
    }
}
