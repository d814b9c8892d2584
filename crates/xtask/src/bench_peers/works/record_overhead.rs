//! What it costs to record every residual.

use anyhow::{Context as _, Result, ensure};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardOutput, ForwardRequest, Workspace};
use glassbox_model::model::Model;
use glassbox_model::record::Recording;
use glassbox_model::site::Site;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::inputs;
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const ROWS: usize = 16;
const WIDTH: usize = 200;

/// The same pass with and without a recording.
pub struct RecordOverhead {
    model: Model<CpuBackend>,
    workspace: Workspace<CpuBackend>,
    batch: TokenBatch,
    recorded: Vec<Site>,
    /// Of the pass before, whose memory the next one uses.
    recording: Recording,
}

impl RecordOverhead {
    /// Loads the model.
    ///
    /// # Errors
    /// If the folder holds none.
    pub fn new(setting: &Setting) -> Result<Self> {
        let model = inputs::model(&setting.data.join(inputs::MODEL))?;
        Ok(Self {
            workspace: model.workspace(),
            model,
            batch: TokenBatch::from_rows(&inputs::rows(4, ROWS, WIDTH))?,
            recorded: (0..inputs::BLOCKS).map(Site::ResidPost).collect(),
            recording: Recording::default(),
        })
    }

    fn pass(&mut self, recorded: &[Site]) -> Result<ForwardOutput> {
        let request = ForwardRequest::new(&self.batch).record(recorded);
        Ok(self.model.forward(&mut self.workspace, request)?)
    }
}

impl Contest for RecordOverhead {
    fn check(&mut self) -> Result<String> {
        let sites = self.recorded.clone();
        let with = self.pass(&sites)?;
        let without = self.pass(&[])?;
        ensure!(with.logits == without.logits, "recording changes the logits");
        let values: usize = with.recording.sites().map(|(_, site)| site.values.len()).sum();
        let expected = sites.len() * ROWS * WIDTH * self.model.config().d_model;
        ensure!(
            values == expected,
            "{values} values were recorded, not {expected}"
        );
        let last = with.recording.get(Site::ResidPost(inputs::BLOCKS - 1));
        let last = last.context("the last block's output was not recorded")?;
        ensure!(
            last.values.iter().any(|&value| value != 0.0),
            "the recording holds zeros"
        );
        Ok(format!(
            "logits bit-identical with and without; {values} values recorded"
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        let reused = std::mem::take(&mut self.recording);
        seconds(|| {
            let request = ForwardRequest::new(&self.batch)
                .record(&self.recorded)
                .reuse(reused);
            self.recording = self.model.forward(&mut self.workspace, request)?.recording;
            Ok(())
        })
    }

    fn peer(&mut self) -> Result<f64> {
        seconds(|| self.pass(&[]).map(|_| ()))
    }

    fn units(&self) -> (f64, f64) {
        (1.0, 1.0)
    }

    fn note(&mut self) -> Result<String> {
        Ok(format!(
            "{ROWS} × {WIDTH} tokens, logits at the last position of each row; hook_resid_post of all {} blocks copied to \
             memory of the caller's own, which each pass hands to the next; the ratio is time recorded over time not recorded",
            inputs::BLOCKS
        ))
    }

    fn versions(&self) -> String {
        "no peer".to_owned()
    }
}
