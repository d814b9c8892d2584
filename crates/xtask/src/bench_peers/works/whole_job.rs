//! A study's whole design, from loading to the causal table.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::ForwardRequest;
use serde_json::{Value, json};

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::close;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs;
use crate::bench_peers::measurement::{Median, Pair, median};
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::study::{
    DecidesAt, Design, Measured, NEW_TOKENS, RECORDED, TEMPERATURE, TOP_P, prompt, run_to_causal_table,
    scenario,
};
use crate::bench_peers::work::Contest;

/// The design of the study.
const STUDY: Design = Design {
    features: 64,
    trials: 30,
};
/// A small one, to see that it works.
const SMALL: Design = Design {
    features: 4,
    trials: 2,
};
/// Block and feature that the loop patches; its speed depends on neither.
const PATCHED: (u32, u32, f32) = (6, 123, 5.0);
const TOLERANCE: f32 = 1e-4;

/// The whole job against trials of the studies' loop.
pub struct WholeJob {
    data: PathBuf,
    design: Design,
    measured: Option<Measured>,
    /// Trials of the loop, and the seconds that three of them took.
    loop_trials: Option<(usize, Median)>,
    peer: Peer,
}

impl WholeJob {
    /// Starts the peer; glassbox loads its model as part of the job.
    ///
    /// # Errors
    /// If the peer does not come up.
    pub fn new(setting: &Setting) -> Result<Self> {
        Ok(Self {
            data: setting.data.clone(),
            design: if setting.quick { SMALL } else { STUDY },
            measured: None,
            loop_trials: None,
            peer: Peer::start(Environment::Torch, setting)?,
        })
    }

    /// The loop's three kinds of trials: a baseline, and two values.
    fn prepare_trials(&mut self) -> Result<()> {
        let (layer, feature, value) = PATCHED;
        let patches: [Value; 3] = [Value::Null, json!([feature, value]), json!([feature, -value])];
        let fields = json!({
            "model": self.data.join(inputs::MODEL),
            "dictionary_folder": self.data.join(inputs::DICTIONARIES),
            "prompt": prompt(0),
            "layer": layer,
            "patches": patches,
            "new_tokens": NEW_TOKENS,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
        });
        self.peer.prepare("one_trial_at_a_time", fields)
    }
}

impl Contest for WholeJob {
    /// Sampled trials can't be compared one by one; what they are sampled from is.
    fn check(&mut self) -> Result<String> {
        let folder = self.data.join(inputs::MODEL);
        let prompts = [prompt(0), prompt(1)];
        let last = prompts[0].len() - 1;
        let fields = json!({"model": folder, "tokens": prompts, "check_positions": [(0, last), (1, last)]});
        self.peer.prepare("prefill", fields)?;
        let theirs = self.peer.check()?;
        let model = inputs::model(&folder)?;
        let batch = TokenBatch::from_rows(&prompts)?;
        let output = model.forward(&mut model.workspace(), ForwardRequest::new(&batch))?;
        let difference = close(
            "logits",
            &output.logits.values,
            &tensor(&theirs, "logits")?.values,
            TOLERANCE,
        )?;
        Ok(format!("logits after both prompts, max |Δ| {difference:.1e}"))
    }

    fn glassbox(&mut self) -> Result<f64> {
        let sweep = "stop_when_decided = \"any_token\"";
        let scenario = scenario(
            &self.data,
            "whole-job",
            self.design,
            DecidesAt::TwentiethToken,
            sweep,
        )?;
        let measured = run_to_causal_table(scenario, self.data.join("whole-job"))?;
        self.measured = Some(measured);
        Ok(measured.seconds)
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    /// One job, between two halves of the loop's trials. Each pair has three of them.
    fn measure(&mut self, pairs: u32) -> Result<Vec<Pair>> {
        self.prepare_trials()?;
        self.peer()?;
        let mut peer = Vec::new();
        for _ in 0..pairs.div_ceil(2) {
            peer.push(self.peer()?);
        }
        let glassbox = self.glassbox()?;
        for _ in pairs.div_ceil(2)..pairs {
            peer.push(self.peer()?);
        }
        // One job, so one pair; how the loop's trials spread is in the note.
        let spread = median(&peer).context("the loop ran no trials")?;
        self.loop_trials = Some((3 * peer.len(), spread));
        Ok(vec![Pair {
            glassbox,
            peer: spread.value,
        }])
    }

    fn units(&self) -> (f64, f64) {
        (f64::from(self.design.study_trials()), 3.0)
    }

    fn note(&mut self) -> Result<String> {
        let Design { features, trials } = self.design;
        let mut note = format!(
            "{features} features × 6 conditions × {trials} trials, sampled, prompt {}, at most {NEW_TOKENS} tokens, parser decides \
             at token 20, {RECORDED} features of each block recorded; the loop's time is extrapolated to {} trials from its \
             trials here (a third of them baselines), which always generate {NEW_TOKENS} tokens; glassbox pools baselines ({} \
             trials needed) and adds a reconstruct-only arm for every block with a feature",
            prompt(0).len(),
            self.design.study_trials(),
            self.design.pooled_trials(),
        );
        if let Some((trials, spread)) = self.loop_trials {
            note += &format!(
                "; {trials} trials of the loop, {:.1} s for three of them (median; {:.1} to {:.1})",
                spread.value, spread.low, spread.high
            );
        }
        if let Some(measured) = self.measured {
            note += &format!(
                "; one job: {:.1} s to the causal table, loading and checksums included, of which {:.1} s of sweep with {} \
                 trials and {} tokens ({:.0} tokens/s)",
                measured.seconds,
                measured.sweep_seconds,
                measured.trials,
                measured.tokens,
                measured.tokens as f64 / measured.sweep_seconds
            );
        }
        Ok(note)
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}
