//! What each way of saving work is worth: the same sweep with one of them switched off in turn.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::measurement::median;
use crate::bench_peers::study::{DecidesAt, Design, run_to_causal_table, scenario};

/// One way of running the sweep.
struct Variant {
    /// What is switched off; empty for nothing.
    off: &'static str,
    /// Its lines in the scenario's sweep section.
    sweep: &'static str,
    /// Whether it is so slow that it is measured once.
    once: bool,
}

/// The lines that every variant but the last two shares.
const VARIANTS: [Variant; 9] = [
    Variant {
        off: "",
        sweep: "stop_when_decided = \"any_token\"",
        once: false,
    },
    engine(
        "prompt shared by its trials",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\nshare_prefix = false",
    ),
    engine(
        "resume at the edited block",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\nresume_at_edit = false",
    ),
    engine(
        "continuous batches",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\ncontinuous = false",
    ),
    engine(
        "delta from one encoder row",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\none_row_deltas = false",
    ),
    engine(
        "recorded features alone encoded",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\nencode_recorded_only = false",
    ),
    engine(
        "baselines pooled",
        "stop_when_decided = \"any_token\"\n[sweep.engine]\npool_baselines = false",
    ),
    Variant {
        off: "stop when decided",
        sweep: "stop_when_decided = \"never\"",
        once: true,
    },
    Variant {
        off: "batches (one row at a time)",
        sweep: "stop_when_decided = \"any_token\"\nbatch_rows = 1",
        once: true,
    },
];

const fn engine(off: &'static str, sweep: &'static str) -> Variant {
    Variant {
        off,
        sweep,
        once: false,
    }
}

const ROUNDS: usize = 3;
const DESIGN: Design = Design {
    features: 16,
    trials: 8,
};
const SMALL: Design = Design {
    features: 3,
    trials: 2,
};

/// What one variant took.
#[derive(Clone, Debug, Serialize)]
pub struct AblationRow {
    /// What is switched off.
    pub off: &'static str,
    /// Median seconds of the sweep.
    pub seconds: f64,
    /// Trials that the plan asks for, per second.
    pub trials_per_second: f64,
    /// Tokens of those trials, per second.
    pub tokens_per_second: f64,
    /// Median over rounds of the time over that with everything on.
    pub times_slower: f64,
    /// Measurements.
    pub rounds: usize,
}

/// Measures every variant, in turns.
///
/// # Errors
/// A run's own.
pub fn ablation(setting: &Setting) -> Result<Vec<AblationRow>> {
    let (design, rounds) = if setting.quick {
        (SMALL, 1)
    } else {
        (DESIGN, ROUNDS)
    };
    let mut measured: Vec<Vec<(f64, u64, u64)>> = vec![Vec::new(); VARIANTS.len()];
    for round in 0..rounds {
        for (variant, measured) in VARIANTS.iter().zip(&mut measured) {
            if variant.once && round > 0 {
                continue;
            }
            let scenario = scenario(
                &setting.data,
                "ablation",
                design,
                DecidesAt::AnyTokenOneInTwenty,
                variant.sweep,
            )?;
            let run = run_to_causal_table(scenario, setting.data.join("ablation"))?;
            eprintln!("without {:?}: {:.1} s", variant.off, run.sweep_seconds);
            measured.push((run.sweep_seconds, run.trials, run.tokens));
        }
    }
    // What the plan asks for; a variant that repeats baselines computes more for the same.
    let (_, trials, tokens) = measured[0].first().copied().unwrap_or_default();
    let all_on: Vec<f64> = measured[0].iter().map(|run| run.0).collect();
    VARIANTS
        .iter()
        .zip(&measured)
        .map(|(variant, runs)| {
            let seconds: Vec<f64> = runs.iter().map(|run| run.0).collect();
            let slower: Vec<f64> = seconds.iter().zip(&all_on).map(|(off, on)| off / on).collect();
            let middle = |values: &[f64]| median(values).map(|median| median.value);
            let seconds = middle(&seconds).context("a variant was not measured")?;
            Ok(AblationRow {
                off: variant.off,
                seconds,
                trials_per_second: trials as f64 / seconds,
                tokens_per_second: tokens as f64 / seconds,
                times_slower: middle(&slower).context("a variant was not measured")?,
                rounds: runs.len(),
            })
        })
        .collect()
}

/// The rows as a Markdown table, which reads well in a terminal too.
pub fn table(rows: &[AblationRow]) -> String {
    let mut text = String::from(
        "| switched off | seconds | trials/s | tokens/s | times slower | rounds |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let off = if row.off.is_empty() { "nothing" } else { row.off };
        let _ = writeln!(
            text,
            "| {off} | {:.1} | {:.1} | {:.0} | {:.2} | {} |",
            row.seconds, row.trials_per_second, row.tokens_per_second, row.times_slower, row.rounds
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_a_valid_scenario_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for variant in VARIANTS {
            let scenario = scenario(
                folder.path(),
                "ablation",
                SMALL,
                DecidesAt::AnyTokenOneInTwenty,
                variant.sweep,
            )
            .unwrap();
            assert!(!seen.contains(&scenario.sweep), "{}", variant.off);
            seen.push(scenario.sweep);
        }
    }
}
