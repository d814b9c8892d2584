//! `sweep`: the trials of a scenario, whole or as one shard.

use glassbox_experiment::Scenario;
use glassbox_experiment::sharding::{SweepOutcome, SweepRequest, sweep as run_sweep};
use serde_json::{Value, json};

use crate::arguments::SweepArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::shard_choice;
use crate::shell::word;
use crate::table::{count, facts};

/// Runs the trials of a shard.
///
/// # Errors
/// A [`CliError`] if an input cannot be used, another process does the shard, or the sweep was stopped.
pub fn sweep(arguments: &SweepArguments, quiet: bool) -> Result<u8, CliError> {
    let shard = shard_choice::shard(arguments, |name| std::env::var_os(name))?;
    let request = SweepRequest {
        scenario: Scenario::read(&arguments.config)?,
        out: arguments.out.clone(),
        resume: arguments.resume,
        shard,
        plan: arguments.plan.clone(),
        plan_only: arguments.plan_only,
    };
    let mut again = format!(
        "glassbox sweep {} --out {}",
        word(&arguments.config),
        word(&arguments.out)
    );
    if let Some(shard) = shard {
        again.push_str(&format!(" --shard {shard}"));
    }
    if let Some(plan) = &arguments.plan {
        again.push_str(&format!(" --plan {}", word(plan)));
    }
    if arguments.plan_only {
        again.push_str(" --plan-only");
    }
    again.push_str(" --resume");
    let interrupt = Interrupt::listen()?;
    let outcome = run_sweep(&request, &Progress::new(quiet, interrupt.flag()))
        .map_err(|error| CliError::from(error).resumable_by(again))?;
    if arguments.json {
        print_json(&as_json(&outcome))?;
    } else {
        print(&text(arguments, &outcome))?;
    }
    Ok(exit_code::DONE)
}

fn text(arguments: &SweepArguments, outcome: &SweepOutcome) -> String {
    let (config, out) = (word(&arguments.config), word(&outcome.out));
    let trials = match outcome.shard {
        _ if arguments.plan_only => format!("{} planned", count(outcome.planned_trials)),
        None => count(outcome.planned_trials),
        Some(shard) => format!(
            "{} of {}, those of shard {shard}",
            count(outcome.shard_trials),
            count(outcome.planned_trials)
        ),
    };
    let next = match outcome.shard {
        _ if arguments.plan_only => {
            format!("glassbox sweep {config} --plan {out} --out SHARD_DIR --shard 0/N")
        }
        None => format!("glassbox run {config} --out {out} --resume"),
        Some(_) => format!(
            "when all shards are complete: glassbox run {config} --out {out} --resume, if they share this folder, else \
             glassbox merge SHARD_DIR… --out DIR"
        ),
    };
    facts(&[
        ("run", outcome.out.display().to_string()),
        ("trials", trials),
        ("next", next),
    ])
}

fn as_json(outcome: &SweepOutcome) -> Value {
    json!({
        "run": outcome.out.display().to_string(),
        "shard": outcome.shard.map(|shard| json!({ "index": shard.index(), "count": shard.count() })),
        "planned_trials": outcome.planned_trials,
        "shard_trials": outcome.shard_trials,
        "trials_now": outcome.cost.trials,
        "tokens_now": outcome.cost.tokens,
        "seconds_now": outcome.cost.seconds,
    })
}
