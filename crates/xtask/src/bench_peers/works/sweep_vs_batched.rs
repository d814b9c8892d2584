//! The sweep against the best that batching in PyTorch gives.

use anyhow::Result;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::{close, same_tokens};
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::measurement::median;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::patched_sweep::{
    LAYER, NEW_TOKENS, PatchedSweep, RECORDED, SweepResult, VALUE, delta_edits,
};
use crate::bench_peers::works::seconds;

/// Rows of the batch that is timed.
const ROWS: u32 = 128;
/// Batches among which each side may choose its best.
const OTHER_ROWS: [u32; 4] = [32, 64, 128, 256];
/// What the best of glassbox is to reach against the best of the peer.
const TARGET_AT_BEST: f64 = 1.2;
const TOLERANCE: f32 = 1e-3;

/// 128 rows, each with another feature patched.
pub struct SweepVsBatched {
    sweep: PatchedSweep,
    model: std::path::PathBuf,
    dictionaries: std::path::PathBuf,
    repeats: usize,
    peer: Peer,
}

impl SweepVsBatched {
    /// Loads model and dictionaries on both sides.
    ///
    /// # Errors
    /// If a side can't.
    pub fn new(setting: &Setting) -> Result<Self> {
        let mut contest = Self {
            sweep: PatchedSweep::new(setting)?,
            model: setting.data.join(inputs::MODEL),
            dictionaries: setting.data.join(inputs::DICTIONARIES),
            repeats: if setting.quick { 1 } else { 3 },
            peer: Peer::start(Environment::Torch, setting)?,
        };
        contest.prepare_peer(ROWS)?;
        Ok(contest)
    }

    fn prepare_peer(&mut self, rows: u32) -> Result<()> {
        let fields = json!({
            "model": self.model,
            "dictionary_folder": self.dictionaries,
            "prompt": self.sweep.prompt(),
            "layer": LAYER,
            "features": inputs::features(rows),
            "value": VALUE,
            "recorded": inputs::features(RECORDED),
            "new_tokens": NEW_TOKENS,
        });
        self.peer.prepare("batched_sweep", fields)
    }

    fn batch(&mut self, rows: u32, top_logits: usize) -> Result<SweepResult> {
        self.sweep
            .batch(&delta_edits(&inputs::features(rows)), top_logits)
    }
}

impl Contest for SweepVsBatched {
    fn check(&mut self) -> Result<String> {
        let ours = self.batch(ROWS, 2)?;
        let theirs = self.peer.check()?;
        let agreement = same_tokens(&ours.rows, tensor(&theirs, "tokens")?)?;
        let records = &tensor(&theirs, "records")?.values;
        let (rows, width) = (ROWS as usize, RECORDED as usize);
        let (mut mine, mut peers) = (Vec::new(), Vec::new());
        // What a token was chosen from is compared as long as the tokens before it are the same.
        for (i, (a, b)) in ours.records.chunks(width).zip(records.chunks(width)).enumerate() {
            let (step, row) = (i / (rows * inputs::BLOCKS as usize), i % rows);
            if step <= agreement.same[row] {
                mine.extend_from_slice(a);
                peers.extend_from_slice(b);
            }
        }
        let difference = close("recorded features", &mine, &peers, TOLERANCE)?;
        Ok(format!(
            "{}; {} recorded features, max |Δ| {difference:.1e}",
            agreement.describe(),
            mine.len()
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.batch(ROWS, 0).map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        let tokens = f64::from(ROWS) * NEW_TOKENS as f64;
        (tokens, tokens)
    }

    fn note(&mut self) -> Result<String> {
        let mut rates = Vec::new();
        for rows in OTHER_ROWS {
            self.prepare_peer(rows)?;
            self.peer.run()?;
            seconds(|| self.batch(rows, 0).map(|_| ()))?;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..self.repeats {
                ours.push(seconds(|| self.batch(rows, 0).map(|_| ()))?);
                theirs.push(self.peer.run()?);
            }
            let tokens = f64::from(rows) * NEW_TOKENS as f64;
            let rate = |seconds: &[f64]| median(seconds).map_or(0.0, |seconds| tokens / seconds.value);
            rates.push((rows, rate(&ours), rate(&theirs)));
        }
        let best = |side: &dyn Fn(&(u32, f64, f64)) -> f64| rates.iter().map(side).fold(0.0, f64::max);
        let (ours, theirs) = (best(&|rate| rate.1), best(&|rate| rate.2));
        let list: Vec<String> = rates
            .iter()
            .map(|(rows, ours, theirs)| format!("{rows} rows {ours:.0} against {theirs:.0}"))
            .collect();
        Ok(format!(
            "f32, greedy, prompt {}, {NEW_TOKENS} new tokens, {RECORDED} features of each block recorded; by batch, median \
             of {}: {}; best against best {:.2} (target {TARGET_AT_BEST})",
            self.sweep.prompt().len(),
            self.repeats,
            list.join(", "),
            ours / theirs
        ))
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
