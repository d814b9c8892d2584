//! One feature's gradient with respect to all residuals.

use anyhow::{Context as _, Result};
use glassbox_kernels::{Backend as _, CpuBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, Workspace};
use glassbox_model::gradient::Seeds;
use glassbox_model::model::Model;
use glassbox_model::record::Recording;
use glassbox_model::site::Site;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::close_in_scale;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const WIDTH: usize = 200;
const LAYER: u32 = inputs::BLOCKS - 1;
const FEATURE: u32 = 123;
const TOLERANCE: f32 = 1e-3;

/// Forward and backward through all blocks.
pub struct Gradient {
    model: Model<CpuBackend>,
    workspace: Workspace<CpuBackend>,
    batch: TokenBatch,
    /// The feature's encoder row: the derivative of its pre-activation at the last position.
    row: Vec<f32>,
    /// The residual stream before the first block and after every block.
    wanted: Vec<Site>,
    peer: Peer,
}

impl Gradient {
    /// Loads model and dictionary on both sides.
    ///
    /// # Errors
    /// If a side can't.
    pub fn new(setting: &Setting) -> Result<Self> {
        let folder = setting.data.join(inputs::MODEL);
        let dictionaries = setting.data.join(inputs::DICTIONARIES);
        let tokens = inputs::rows(3, 1, WIDTH);
        let mut peer = Peer::start(Environment::Torch, setting)?;
        let fields = json!({
            "model": folder, "dictionary_folder": dictionaries, "tokens": tokens, "layer": LAYER, "feature": FEATURE,
        });
        peer.prepare("gradient", fields)?;
        let model = inputs::model(&folder)?;
        let dictionary = inputs::dictionary(&dictionaries, LAYER)?;
        let mut row = vec![0.0; dictionary.width()];
        CpuBackend.read(&dictionary.encoder_rows(&[FEATURE])?, 0, &mut row)?;
        let mut wanted = vec![Site::ResidPre(0)];
        wanted.extend((0..inputs::BLOCKS).map(Site::ResidPost));
        Ok(Self {
            workspace: model.workspace(),
            model,
            batch: TokenBatch::from_rows(&tokens)?,
            row,
            wanted,
            peer,
        })
    }

    fn gradients(&mut self) -> Result<Recording> {
        let request = ForwardRequest::new(&self.batch).stop_after_layer(LAYER);
        let (_, mut tape) = self.model.forward_with_tape(&mut self.workspace, request)?;
        let seeds = Seeds::new().position(Site::ResidPost(LAYER), 0, WIDTH as u32 - 1, &self.row);
        Ok(tape.backward(&seeds, &self.wanted)?)
    }
}

impl Contest for Gradient {
    fn check(&mut self) -> Result<String> {
        let recording = self.gradients()?;
        let mut ours = Vec::new();
        for &site in &self.wanted {
            let gradient = recording
                .get(site)
                .with_context(|| format!("no gradient at {site}"))?;
            ours.extend_from_slice(&gradient.values);
        }
        let theirs = self.peer.check()?;
        let difference = close_in_scale(
            "gradients",
            &ours,
            &tensor(&theirs, "gradients")?.values,
            TOLERANCE,
        )?;
        Ok(format!(
            "gradients at {} residuals of {WIDTH} positions, max |Δ| {difference:.1e} of the largest",
            self.wanted.len()
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.gradients().map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        (1.0, 1.0)
    }

    fn note(&mut self) -> Result<String> {
        Ok("f32 on both sides; the peer's pass includes the final norm, below 0.1 % of the work".to_owned())
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
