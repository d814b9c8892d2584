//! Activation patching over layers and positions.

use anyhow::{Context as _, Result};
use glassbox_experiment::events::Silent;
use glassbox_experiment::patching::{PatchGrid, PatchSite, patch_grid};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::ForwardRequest;
use glassbox_model::model::Model;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::close;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const POSITIONS: usize = 40;
const CELLS: usize = inputs::BLOCKS as usize * POSITIONS;
/// The metric is the logit of this token at the last position.
const TOKEN: usize = 5;
const TOLERANCE: f32 = 1e-4;
/// Position of the one token that differs in the second, easier pair of prompts.
const ONE_DIFFERENCE: usize = 10;

/// A clean residual into a corrupted run, at every block and position.
pub struct PatchCells {
    model: Model<CpuBackend>,
    clean: Vec<u32>,
    corrupted: Vec<u32>,
    /// Blocks that the peer does in a timed run.
    peer_layers: u32,
    peer: Peer,
}

impl PatchCells {
    /// Loads the model on both sides.
    ///
    /// # Errors
    /// If a side can't.
    pub fn new(setting: &Setting) -> Result<Self> {
        let folder = setting.data.join(inputs::MODEL);
        // No token is the same, so that no cell is known beforehand to change nothing.
        let (clean, corrupted) = (inputs::tokens(6, POSITIONS), inputs::tokens(7, POSITIONS));
        let peer_layers = if setting.quick { 1 } else { inputs::BLOCKS };
        let mut peer = Peer::start(Environment::TransformerLens, setting)?;
        let layers: Vec<u32> = (0..peer_layers).collect();
        let fields = json!({
            "model": folder, "clean": clean, "corrupted": corrupted, "token": TOKEN, "layers": layers,
        });
        peer.prepare("residual_patching", fields)?;
        Ok(Self {
            model: inputs::model(&folder)?,
            clean,
            corrupted,
            peer_layers,
            peer,
        })
    }

    fn grid(&self, corrupted: &[u32]) -> Result<PatchGrid> {
        let metric = |logits: &[f32]| f64::from(logits[TOKEN]);
        Ok(patch_grid(
            &self.model,
            &self.clean,
            corrupted,
            &[PatchSite::ResidPre],
            &metric,
            &Silent,
        )?)
    }
}

impl Contest for PatchCells {
    fn check(&mut self) -> Result<String> {
        let theirs = self.peer.check()?;
        let mut workspace = self.model.workspace();
        let batch = TokenBatch::from_rows(&[&self.clean, &self.corrupted])?;
        let output = self.model.forward(&mut workspace, ForwardRequest::new(&batch))?;
        let logits = close(
            "logits",
            &output.logits.values,
            &tensor(&theirs, "logits")?.values,
            TOLERANCE,
        )?;
        let grid = self.grid(&self.corrupted)?;
        let cells: Vec<f32> = grid
            .sites
            .get(&PatchSite::ResidPre)
            .context("the grid has no cells")?
            .iter()
            .map(|&cell| cell as f32)
            .collect();
        let difference = close("cells", &cells, &tensor(&theirs, "cells")?.values, TOLERANCE)?;
        Ok(format!(
            "{} cells, max |Δ| {difference:.1e}; logits of both prompts, max |Δ| {logits:.1e}",
            cells.len()
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.grid(&self.corrupted).map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        (CELLS as f64, (self.peer_layers as usize * POSITIONS) as f64)
    }

    fn note(&mut self) -> Result<String> {
        let mut near = self.clean.clone();
        near[ONE_DIFFERENCE] = self.corrupted[ONE_DIFFERENCE];
        self.grid(&near)?;
        let one = seconds(|| self.grid(&near).map(|_| ()))?;
        Ok(format!(
            "f32; {} blocks × {POSITIONS} positions, one logit of the last position; the two prompts have no token in common, \
             so that every cell must be computed; with prompts that differ at position {ONE_DIFFERENCE} only, glassbox does {:.0} \
             cells/s",
            inputs::BLOCKS,
            CELLS as f64 / one
        ))
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
