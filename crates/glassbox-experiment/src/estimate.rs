//! What a run would cost, before it runs: `--dry-run`.

use std::time::Instant;

use crate::decision_stage::check_decision;
use crate::error::ExperimentError;
use crate::plan::{Plan, count_trials};
use crate::prompts::PromptSets;
use crate::recording::Recording;
use crate::scenario::Scenario;
use crate::session::Session;
use crate::sweep::estimated_bytes;
use crate::trial_batch::TrialContext;

/// Tokens per row of the batch that is timed.
const TIMED_TOKENS: usize = 16;

/// The plan of a run in figures. Everything but the counts is an estimate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PlanEstimate {
    /// Prompts that select features, both families.
    pub select_prompts: u64,
    /// Prompts of the sweep, both families.
    pub sweep_prompts: u64,
    /// Layers with a dictionary.
    pub layers: u64,
    /// Selected features at most.
    pub features: u64,
    /// Random-feature controls at most.
    pub controls: u64,
    /// Trials of the sweep at most.
    pub trials: u64,
    /// Replays of the pathways at most.
    pub replays: u64,
    /// Tokens of the longest prompt.
    pub longest_prompt_tokens: u64,
    /// Tokens per second of a timed batch, all processors together.
    pub tokens_per_second: f64,
    /// Seconds of sweep and replays if every trial took all its new tokens.
    pub seconds_at_most: f64,
    /// Bytes of weights, dictionaries and caches in memory.
    pub memory_bytes: u64,
    /// Bytes of tables on disk at most.
    pub disk_bytes: u64,
}

/// Counts the plan and times one batch of baseline trials; nothing is written.
///
/// # Errors
/// Those of loading and running the model.
pub fn estimate(scenario: &Scenario) -> Result<PlanEstimate, ExperimentError> {
    let prompts = PromptSets::read(scenario)?;
    let session = Session::load(scenario)?;
    prompts.check_lengths(&session)?;
    check_decision(&session, scenario, &prompts.sweep)?;
    let settings = &scenario.sweep;
    let layers = session.layers().len() as u64;
    let features = match scenario.select.features.len() as u64 {
        0 => layers * scenario.select.top_per_layer as u64,
        listed => listed,
    };
    let controls = features * settings.controls_per_feature as u64;
    let sweep_prompts = prompts.sweep.len() as u64;
    let trials = count_trials(
        prompts.sweep.len(),
        layers as usize,
        features as usize,
        controls as usize,
        settings.trials,
    )?;
    let pathways = &scenario.pathways;
    let sources = (pathways.sources + pathways.control_sources + pathways.second_wave) as u64;
    let replay_prompts = sweep_prompts.min(2 * pathways.max_prompts as u64);
    let replays = replay_prompts * u64::from(pathways.trials) * (1 + 2 * sources);
    let mut longest = 0;
    for prompt in prompts.select.iter().chain(&prompts.sweep) {
        longest = longest.max(session.encode(&prompt.text)?.len() as u64);
    }
    let tokens_per_second = timed_rate(scenario, &session, &prompts)?;
    let config = session.model().config();
    let slots = longest + settings.max_new_tokens as u64;
    let cache_bytes = session.workers() as u64
        * settings.batch_rows as u64
        * slots
        * (2 * 4 * config.n_layers * config.n_kv_heads * config.d_head) as u64;
    let mut dictionary_bytes = 0;
    for layer in session.layers() {
        // In memory the matrices are f32, whatever the file holds.
        let dictionary = session.dictionary(layer)?;
        dictionary_bytes += 8 * (dictionary.features() * dictionary.width()) as u64;
    }
    Ok(PlanEstimate {
        select_prompts: prompts.select.len() as u64,
        sweep_prompts,
        layers,
        features,
        controls,
        trials,
        replays,
        longest_prompt_tokens: longest,
        tokens_per_second,
        seconds_at_most: ((trials + replays) * settings.max_new_tokens as u64) as f64 / tokens_per_second,
        memory_bytes: session.model_bytes() + dictionary_bytes + cache_bytes,
        disk_bytes: estimated_bytes(scenario, trials, features as usize),
    })
}

/// Tokens per second of baseline trials in full batches, times the units that run side by side.
fn timed_rate(scenario: &Scenario, session: &Session, prompts: &PromptSets) -> Result<f64, ExperimentError> {
    let Some(prompt) = prompts.sweep.first() else {
        return Err(ExperimentError::Data {
            stage: "sweep",
            what: "there is no prompt to time".into(),
        });
    };
    let mut timed = scenario.clone();
    timed.sweep.max_new_tokens = TIMED_TOKENS.min(scenario.sweep.max_new_tokens);
    let parser = timed.compiled_parser()?;
    let context = TrialContext {
        session,
        scenario: &timed,
        parser: &parser,
        run: "estimate",
        baseline_runs: 1,
        progress: &|_, _| {},
    };
    let rows = timed.sweep.batch_rows;
    let plan = Plan::new(std::slice::from_ref(prompt), &[], &[], rows as u32, rows).unit(0);
    let mut workspace = session.model().workspace();
    // Once to warm up, once to measure.
    context.run_unit(&mut workspace, &prompt.text, &plan, Recording::None)?;
    let since = Instant::now();
    let result = context.run_unit(&mut workspace, &prompt.text, &plan, Recording::None)?;
    let rate = result.tokens as f64 / since.elapsed().as_secs_f64().max(1e-9);
    // A unit alone uses one thread where several run side by side, and all of them otherwise.
    Ok(rate
        * if session.workers() > 1 {
            session.workers() as f64
        } else {
            1.0
        })
}
