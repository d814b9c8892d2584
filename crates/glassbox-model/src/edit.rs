//! Row programs: what to change, in which rows of a batch, at which sites and positions.
//!
//! The model knows only compiled edits ([`RowEdit`]); whoever has a dictionary compiles its features into
//! them. Every intervention must fire at least once, or the run that carries it fails (see [`RowProgram`]).

use std::fmt::Debug;
use std::sync::Arc;

use glassbox_kernels::{Backend, KernelError};

use crate::site::Site;

/// An edit compiled for one site, applied to chosen rows of that site's values.
///
/// `x` holds rows of `width` values: one row per (batch row, position), or per (batch row, position, head)
/// where an intervention names heads, or per (batch row, head, query) for scores and patterns.
pub trait RowEdit<B: Backend>: Debug + Send + Sync {
    /// The row width that the edit was compiled for; `None` if it works on any width.
    fn width(&self) -> Option<usize>;

    /// Changes the listed rows of x [_, width] in place.
    ///
    /// # Errors
    /// A [`KernelError`] if the edit doesn't fit the rows.
    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError>;

    /// Turns the gradient with respect to the edited rows into the gradient with respect to the rows before the
    /// edit, in place on `gradient` [_, width]; `x_before` holds the values from before [`RowEdit::apply`].
    ///
    /// # Errors
    /// A [`KernelError`] if the edit doesn't fit the rows.
    fn pull_back(
        &self,
        backend: &B,
        x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError>;
}

/// Which positions of a row an intervention touches. Positions count from 0 at the row's first real token;
/// padding has no position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Every position, prompt and generated.
    All,
    /// These positions, counted from the start of the row.
    Absolute(Vec<u32>),
    /// The last position of the prompt.
    LastOfPrompt,
    /// Every generated position: the positions of generated tokens when they are fed back.
    Generated,
    /// The last position of the prompt and every generated one: the place of every prediction that is sampled.
    LastAndGenerated,
}

/// Which rows of the batch an intervention touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchRows {
    /// Every row.
    All,
    /// This row.
    One(u32),
}

/// One intervention of a row program.
#[derive(Debug)]
pub struct RowIntervention<B: Backend> {
    /// The batch rows that it touches.
    pub rows: BatchRows,
    /// Where in the forward pass.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// Heads, for sites that have a head axis; `None` for the whole row (all heads).
    pub heads: Option<Vec<u32>>,
    /// What to do.
    pub edit: Arc<dyn RowEdit<B>>,
}

impl<B: Backend> Clone for RowIntervention<B> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            site: self.site,
            positions: self.positions.clone(),
            heads: self.heads.clone(),
            edit: Arc::clone(&self.edit),
        }
    }
}

/// All interventions of a forward pass or a generation, applied in this order where they meet at one site.
///
/// Whoever runs a program counts its firings: an intervention that never fired by the end of the run (a position
/// that no row reached, a site that is not computed) is an error that names it, never silence.
#[derive(Debug)]
pub struct RowProgram<B: Backend> {
    /// The interventions.
    pub interventions: Vec<RowIntervention<B>>,
}

impl<B: Backend> Default for RowProgram<B> {
    fn default() -> Self {
        Self {
            interventions: Vec::new(),
        }
    }
}

impl<B: Backend> Clone for RowProgram<B> {
    fn clone(&self) -> Self {
        Self {
            interventions: self.interventions.clone(),
        }
    }
}
