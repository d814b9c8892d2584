//! What a forward pass is asked for, and what it gives.

use glassbox_kernels::Backend;

use crate::batch::TokenBatch;
use crate::cache::KvCache;
use crate::edit::RowProgram;
use crate::forward::hooks::SiteVisitor;
use crate::program::ProgramRun;
use crate::record::Recording;
use crate::site::Site;

/// Residual values [batch, pos, d_model], padding included.
#[derive(Debug)]
pub enum Residual<'a, B: Backend> {
    /// On the host.
    Host(&'a [f32]),
    /// On the device; the buffer may be longer.
    Device(&'a B::Buffer),
}

/// Where a pass begins.
#[derive(Debug, Default)]
pub enum Start<'a, B: Backend> {
    /// With the token ids.
    #[default]
    Embedding,
    /// With a given `blocks.{layer}.hook_resid_pre`. A layer equal to the number of blocks leaves the final norm and
    /// the unembedding.
    Layer {
        /// The first block to compute.
        layer: u32,
        /// Its input.
        residual: Residual<'a, B>,
    },
}

/// Row and position of one row of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogitPosition {
    /// Row of the batch.
    pub row: u32,
    /// Position, counted from the row's first token.
    pub position: u32,
}

/// At which positions logits are computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogitPositions {
    /// Nowhere.
    None,
    /// At the last position of each row.
    #[default]
    Last,
    /// At every new position, row by row, padding left out.
    All,
    /// At these, in this order.
    Chosen(Vec<LogitPosition>),
}

/// The program of a pass.
#[derive(Debug)]
pub(crate) enum PassProgram<'a, B: Backend> {
    /// Nothing is edited.
    None,
    /// A program for this pass alone: each intervention must fire in it.
    Whole(&'a RowProgram<B>),
    /// A program in the course of a run of several passes, whose owner asks at the end whether all fired.
    Running(&'a mut ProgramRun<B>),
}

/// Rows of a pass that need not be computed from the embedding on, since up to some block they equal the last position of
/// a prompt that is known.
#[derive(Debug)]
pub(crate) struct Resume<'a, B: Backend> {
    /// First block that is computed, for each row of the batch, rising. 0 is the whole pass.
    pub(crate) block: &'a [u32],
    /// Prompt of each row.
    pub(crate) prompt: &'a [u32],
    /// `hook_resid_pre` of every block, and the last `hook_resid_post`, at the prompts' last positions: [prompts, d_model].
    pub(crate) resid: &'a [B::Buffer],
}

/// A forward pass to run. Made by [`ForwardRequest::new`], extended by its methods.
#[must_use]
pub struct ForwardRequest<'a, B: Backend> {
    pub(crate) batch: &'a TokenBatch,
    pub(crate) start: Start<'a, B>,
    pub(crate) stop_after: Option<u32>,
    pub(crate) logits: LogitPositions,
    pub(crate) cache: Option<&'a mut KvCache<B>>,
    pub(crate) program: PassProgram<'a, B>,
    pub(crate) prompt_lengths: Option<&'a [u32]>,
    pub(crate) row_ids: Option<&'a [u32]>,
    pub(crate) first_key: Option<&'a [u32]>,
    pub(crate) resume: Option<Resume<'a, B>>,
    pub(crate) record: &'a [Site],
    pub(crate) reused: Recording,
    pub(crate) visitor: Option<&'a mut dyn SiteVisitor<B>>,
}

impl<'a, B: Backend> ForwardRequest<'a, B> {
    /// A pass over these tokens, from the embedding to the logits of each row's last position.
    pub fn new(batch: &'a TokenBatch) -> Self {
        Self {
            batch,
            start: Start::Embedding,
            stop_after: None,
            logits: LogitPositions::Last,
            cache: None,
            program: PassProgram::None,
            prompt_lengths: None,
            row_ids: None,
            first_key: None,
            resume: None,
            record: &[],
            reused: Recording::default(),
            visitor: None,
        }
    }

    /// Begins elsewhere than at the embedding.
    pub fn start(mut self, start: Start<'a, B>) -> Self {
        self.start = start;
        self
    }

    /// Ends after this block, without logits.
    pub fn stop_after_layer(mut self, layer: u32) -> Self {
        self.stop_after = Some(layer);
        self.logits = LogitPositions::None;
        self
    }

    /// Chooses the positions of the logits.
    pub fn logits(mut self, positions: LogitPositions) -> Self {
        self.logits = positions;
        self
    }

    /// Continues what the cache holds, and adds the new positions to it.
    pub fn cache(mut self, cache: &'a mut KvCache<B>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Applies a program. Every intervention must fire in this pass. Positions that are in the cache already are past,
    /// and stay as they are.
    pub fn program(mut self, program: &'a RowProgram<B>) -> Self {
        self.program = PassProgram::Whole(program);
        self
    }

    pub(crate) fn running_program(mut self, program: &'a mut ProgramRun<B>) -> Self {
        self.program = PassProgram::Running(program);
        self
    }

    /// How many of each row's positions are its prompt; what follows counts as generated. By default all of them are.
    pub fn prompt_lengths(mut self, lengths: &'a [u32]) -> Self {
        self.prompt_lengths = Some(lengths);
        self
    }

    /// The number that each batch row has for the program and for visitors, 0, 1, 2, … by default.
    pub(crate) fn row_ids(mut self, ids: &'a [u32]) -> Self {
        self.row_ids = Some(ids);
        self
    }

    /// Slot of each row's first token, where the batch is a piece of longer rows and can't tell.
    pub(crate) fn first_key(mut self, first_key: &'a [u32]) -> Self {
        self.first_key = Some(first_key);
        self
    }

    /// Computes rows from later blocks on; for passes of one position per row.
    pub(crate) fn resume(mut self, resume: Resume<'a, B>) -> Self {
        self.resume = Some(resume);
        self
    }

    /// Records these sites, after their edits.
    pub fn record(mut self, sites: &'a [Site]) -> Self {
        self.record = sites;
        self
    }

    /// Records into the memory of an earlier recording, which is no longer needed. Memory that is new costs more than the copy
    /// itself: where many passes are recorded, hand the recording back.
    pub fn reuse(mut self, recording: Recording) -> Self {
        self.reused = recording;
        self
    }

    /// Shows the sites that it wants to a visitor.
    pub fn visitor(mut self, visitor: &'a mut dyn SiteVisitor<B>) -> Self {
        self.visitor = Some(visitor);
        self
    }
}

/// Rows of logits on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// Row and position of each row of logits.
    pub positions: Vec<LogitPosition>,
    /// Width of a row.
    pub vocab_size: usize,
    /// [positions, vocab].
    pub values: Vec<f32>,
}

impl Logits {
    /// The i-th row.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.vocab_size..(i + 1) * self.vocab_size]
    }

    /// The logits at one position, if they were computed.
    #[must_use]
    pub fn at(&self, row: u32, position: u32) -> Option<&[f32]> {
        let wanted = LogitPosition { row, position };
        self.positions
            .iter()
            .position(|&at| at == wanted)
            .map(|i| self.row(i))
    }
}

/// What a pass gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForwardOutput {
    /// The logits asked for.
    pub logits: Logits,
    /// The sites asked for.
    pub recording: Recording,
}
