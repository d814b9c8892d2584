//! Logits at all positions of a batch.

use anyhow::Result;
use glassbox_kernels::{Backend as _, CpuBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, LogitPositions, Workspace};
use glassbox_model::model::Model;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::close;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const ROWS: usize = 16;
const WIDTH: usize = 200;
/// Row and position of the logits that are compared.
const COMPARED: [(usize, usize); 5] = [(0, 0), (0, 199), (3, 57), (9, 120), (15, 199)];
const TOLERANCE: f32 = 1e-4;

/// 16 rows of 200 tokens.
pub struct Prefill {
    model: Model<CpuBackend>,
    workspace: Workspace<CpuBackend>,
    batch: TokenBatch,
    peer: Peer,
}

impl Prefill {
    /// Loads the model on both sides.
    ///
    /// # Errors
    /// If a side can't.
    pub fn new(setting: &Setting) -> Result<Self> {
        let folder = setting.data.join(inputs::MODEL);
        let rows = inputs::rows(1, ROWS, WIDTH);
        let mut peer = Peer::start(Environment::Torch, setting)?;
        let fields = json!({"model": folder, "tokens": rows, "check_positions": COMPARED});
        peer.prepare("prefill", fields)?;
        let model = inputs::model(&folder)?;
        Ok(Self {
            workspace: model.workspace(),
            model,
            batch: TokenBatch::from_rows(&rows)?,
            peer,
        })
    }

    fn pass(&mut self) -> Result<()> {
        let request = ForwardRequest::new(&self.batch).logits(LogitPositions::All);
        self.model.forward_on_device(&mut self.workspace, request)?;
        Ok(())
    }
}

impl Contest for Prefill {
    fn check(&mut self) -> Result<String> {
        self.pass()?;
        let vocabulary = self.model.config().vocab_size;
        let mut ours = vec![0.0; COMPARED.len() * vocabulary];
        for ((row, position), logits) in COMPARED.iter().zip(ours.chunks_mut(vocabulary)) {
            let begin = (row * WIDTH + position) * vocabulary;
            self.model
                .backend()
                .read(self.workspace.logits(), begin, logits)?;
        }
        let theirs = self.peer.check()?;
        let difference = close("logits", &ours, &tensor(&theirs, "logits")?.values, TOLERANCE)?;
        Ok(format!(
            "logits at {} positions, max |Δ| {difference:.1e}",
            COMPARED.len()
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.pass())
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        ((ROWS * WIDTH) as f64, (ROWS * WIDTH) as f64)
    }

    fn note(&mut self) -> Result<String> {
        Ok("f32 on both sides; glassbox checks every logit to be finite".to_owned())
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
