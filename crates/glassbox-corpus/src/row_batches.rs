//! Rows of a corpus in batches for the forward pass.

use std::collections::VecDeque;

use glassbox_model::batch::TokenBatch;
use serde::{Deserialize, Serialize};

use crate::{CorpusError, Packing, RowsState, TokenRow, TokenRows};

/// Batches whose rows are sorted by length together, where rows are of unequal length.
const SORTED_BATCHES: usize = 8;

/// Rows for one forward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBatch {
    /// The rows.
    pub rows: Vec<TokenRow>,
    /// Their token ids, the shorter ones padded on the left.
    pub tokens: TokenBatch,
}

impl RowBatch {
    fn new(rows: Vec<TokenRow>) -> Result<Self, CorpusError> {
        let ids: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let tokens =
            TokenBatch::from_rows(&ids).map_err(glassbox_model::forward_error::ForwardError::from)?;
        Ok(Self { rows, tokens })
    }

    /// Tokens that are data.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.rows.iter().map(TokenRow::kept).sum()
    }

    /// Stretches of tokens that are data and lie beside one another in a [rows, width] site of the pass.
    pub(crate) fn kept_runs(&self) -> Vec<KeptRun> {
        let (mut runs, width): (Vec<KeptRun>, _) = (Vec::new(), self.tokens.width());
        for (r, row) in self.rows.iter().enumerate() {
            let first_slot = (r + 1) * width - row.tokens.len();
            let mut open = false;
            for (position, &keep) in row.keep.iter().enumerate() {
                match runs.last_mut() {
                    Some(run) if keep && open => run.len += 1,
                    _ if keep => runs.push(KeptRun {
                        slot: first_slot + position,
                        len: 1,
                        row: r,
                        position,
                    }),
                    _ => {}
                }
                open = keep;
            }
        }
        runs
    }
}

/// Tokens that are data, one beside the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptRun {
    /// The first one's place among the slots of the pass, padding included.
    pub(crate) slot: usize,
    pub(crate) len: usize,
    /// Row of the batch, and position in it of the first one.
    pub(crate) row: usize,
    pub(crate) position: usize,
}

/// Where [`RowBatches`] stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowBatchesState {
    /// Where the rows stood before those that were sorted together.
    pub rows: RowsState,
    /// Batches of these that were given.
    given: usize,
}

/// The rows of a corpus in batches of at most `batch_tokens` tokens, padding included (a single longer row is a batch of its own).
/// Packed rows come in order. Rows of one document each are sorted by length among their neighbours, so that little is padding.
#[derive(Debug)]
pub struct RowBatches<'a> {
    rows: TokenRows<'a>,
    batch_tokens: usize,
    ready: VecDeque<RowBatch>,
    before: Option<RowBatchesState>,
}

impl<'a> RowBatches<'a> {
    /// Batches of these rows.
    #[must_use]
    pub fn new(rows: TokenRows<'a>, batch_tokens: usize) -> Self {
        Self {
            rows,
            batch_tokens,
            ready: VecDeque::new(),
            before: None,
        }
    }

    /// Tokens of a batch at most.
    #[must_use]
    pub fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &TokenRows<'a> {
        &self.rows
    }

    /// Where all stands: after the batch that was given last.
    #[must_use]
    pub fn state(&self) -> RowBatchesState {
        match &self.before {
            Some(before) if !self.ready.is_empty() => before.clone(),
            _ => RowBatchesState {
                rows: self.rows.state(),
                given: 0,
            },
        }
    }

    /// Continues where batches of the same rows stood.
    ///
    /// # Errors
    /// As [`TokenRows::restore`].
    pub fn restore(&mut self, state: &RowBatchesState) -> Result<(), CorpusError> {
        self.rows.restore(&state.rows)?;
        self.ready.clear();
        self.before = None;
        for _ in 0..state.given {
            self.next_batch()?;
        }
        Ok(())
    }

    /// Begins again with the first document.
    pub fn rewind(&mut self) {
        self.rows.rewind();
        self.ready.clear();
        self.before = None;
    }

    /// The next batch; `None` at the end of the corpus.
    ///
    /// # Errors
    /// As [`TokenRows::next_row`].
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>, CorpusError> {
        if self.ready.is_empty() {
            self.before = Some(RowBatchesState {
                rows: self.rows.state(),
                given: 0,
            });
            self.collect()?;
        }
        let batch = self.ready.pop_front();
        if batch.is_some()
            && let Some(before) = &mut self.before
        {
            before.given += 1;
        }
        Ok(batch)
    }

    fn collect(&mut self) -> Result<(), CorpusError> {
        let options = self.rows.options();
        let packed = options.packing == Packing::Packed;
        let budget = if packed {
            // As many whole rows as fit.
            (self.batch_tokens / options.context).max(1) * options.context
        } else {
            SORTED_BATCHES * self.batch_tokens
        };
        let context = options.context;
        let (mut collected, mut tokens) = (Vec::new(), 0);
        while tokens < budget {
            let Some(row) = self.rows.next_row()? else { break };
            // The last, shorter row of a packed corpus takes a row's place too.
            tokens += if packed { context } else { row.tokens.len() };
            collected.push(row);
        }
        if !packed {
            collected.sort_by_key(|row: &TokenRow| row.tokens.len());
        }
        let mut batch: Vec<TokenRow> = Vec::new();
        for row in collected {
            // Rows come by rising length (or are all of one): this one is the longest so far.
            if !packed && !batch.is_empty() && (batch.len() + 1) * row.tokens.len() > self.batch_tokens {
                self.ready.push_back(RowBatch::new(std::mem::take(&mut batch))?);
            }
            batch.push(row);
        }
        if !batch.is_empty() {
            self.ready.push_back(RowBatch::new(batch)?);
        }
        Ok(())
    }
}
