//! The sweep against the studies' loop of one trial at a time.

use anyhow::Result;
use glassbox_dictionary::FeatureEdit;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::{close_in_scale, same_tokens};
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::patched_sweep::{
    LAYER, NEW_TOKENS, PatchedSweep, RECORDED, VALUE, delta_edits,
};
use crate::bench_peers::works::seconds;

/// Rows of glassbox's batch.
const ROWS: u32 = 128;
/// The feature that the loop patches.
const FEATURE: u32 = 123;
const TOLERANCE: f32 = 1e-4;

/// 128 rows at a time against one.
pub struct SweepVsLoop {
    sweep: PatchedSweep,
    peer: Peer,
}

impl SweepVsLoop {
    /// Loads model and dictionaries on both sides.
    ///
    /// # Errors
    /// If a side can't.
    pub fn new(setting: &Setting) -> Result<Self> {
        let sweep = PatchedSweep::new(setting)?;
        let mut peer = Peer::start(Environment::Torch, setting)?;
        let fields = json!({
            "model": setting.data.join(inputs::MODEL),
            "dictionary_folder": setting.data.join(inputs::DICTIONARIES),
            "prompt": sweep.prompt(),
            "layer": LAYER,
            "patches": [(FEATURE, VALUE)],
            "new_tokens": NEW_TOKENS,
            "recorded": inputs::features(RECORDED),
        });
        peer.prepare("one_trial_at_a_time", fields)?;
        Ok(Self { sweep, peer })
    }
}

impl Contest for SweepVsLoop {
    /// The loop replaces the residual by a reconstruction, so glassbox does too for the comparison.
    fn check(&mut self) -> Result<String> {
        let edit = FeatureEdit::SetByReconstruction {
            feature: FEATURE,
            value: VALUE,
        };
        let ours = self.sweep.batch(&[edit], 2)?;
        let theirs = self.peer.check()?;
        let agreement = same_tokens(&ours.rows, tensor(&theirs, "tokens")?)?;
        let compared = (agreement.same[0] + 1).min(NEW_TOKENS) * (inputs::BLOCKS * RECORDED) as usize;
        let records = &tensor(&theirs, "records")?.values;
        let difference = close_in_scale(
            "recorded features",
            ours.records.get(..compared).unwrap_or_default(),
            records.get(..compared).unwrap_or_default(),
            TOLERANCE,
        )?;
        Ok(format!(
            "with the loop's own edit (set by reconstruction) {}; {compared} recorded features, max |Δ| {difference:.1e} of the \
             largest",
            agreement.describe()
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        let edits = delta_edits(&inputs::features(ROWS));
        seconds(|| self.sweep.batch(&edits, 0).map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        (f64::from(ROWS) * NEW_TOKENS as f64, NEW_TOKENS as f64)
    }

    fn note(&mut self) -> Result<String> {
        Ok(format!(
            "f32, greedy, prompt {}, {NEW_TOKENS} new tokens; glassbox runs {ROWS} rows with delta edits and records {RECORDED} \
             features of each block; the loop runs one trial with full encode and decode at the patched block and \
             records all {} features of each block, as the studies did",
            self.sweep.prompt().len(),
            inputs::FEATURES
        ))
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
