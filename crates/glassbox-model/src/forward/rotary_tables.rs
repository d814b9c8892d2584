//! Rotary tables on the device.

use glassbox_kernels::{Backend, KernelError};

use crate::forward::layout::PassLayout;
use crate::model::Model;
use crate::rotary::RotaryTable;

/// Cosines and sines on the device, for as many positions as a pass has needed so far.
#[derive(Debug)]
pub(crate) struct RotaryTables<B: Backend> {
    table: RotaryTable,
    cos: B::Buffer,
    sin: B::Buffer,
}

impl<B: Backend> RotaryTables<B> {
    /// Empty tables, or `None` if the model's positions are learned.
    pub(crate) fn new(model: &Model<B>) -> Option<Self> {
        let table = RotaryTable::new(model.config())?;
        Some(Self {
            table,
            cos: model.backend().zeros(0),
            sin: model.backend().zeros(0),
        })
    }

    /// Makes the tables hold the positions of a pass.
    pub(crate) fn reserve(&mut self, model: &Model<B>, layout: &PassLayout) {
        let positions = layout
            .position_ids()
            .iter()
            .max()
            .map_or(0, |&last| last as usize + 1);
        if positions > self.table.positions() {
            // Rounded up, so that generation seldom uploads them anew.
            let most = model.config().max_positions;
            self.table
                .grow(positions.next_power_of_two().min(most).max(positions));
            self.cos = model.backend().upload(self.table.cos());
            self.sin = model.backend().upload(self.table.sin());
        }
    }

    /// Turns queries or keys [rows, heads, width] by the angles of their positions, or back if `inverse`.
    pub(crate) fn turn(
        &self,
        backend: &B,
        x: &mut B::Buffer,
        heads: usize,
        width: usize,
        layout: &PassLayout,
        inverse: bool,
    ) -> Result<(), KernelError> {
        let (pairs, positions) = (self.table.pairs(), layout.position_ids());
        backend.rotary(
            x,
            positions.len(),
            heads,
            width,
            &self.cos,
            &self.sin,
            pairs,
            positions,
            inverse,
        )
    }
}
