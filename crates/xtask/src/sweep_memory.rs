//! `sweep-memory`: the largest memory of a sweep, and of a whole run, with few trials and with many.

use std::fs;
use std::path::PathBuf;

use anyhow::bail;

use crate::program::{Program, root};
use crate::small_scenario;

/// Flags of `sweep-memory`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Numbers of trials, about, fewest first.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000])]
    trials: Vec<u64>,
    /// Tokens per trial at most.
    #[arg(long, default_value_t = 4)]
    tokens: u32,
    /// The program to test; without it the release is built.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Trials of the scenario per trial number: two prompts, each with baseline, six layers' reconstructions, and twelve
/// features and twelve controls at two values.
const TRIALS_PER_NUMBER: u64 = 2 * (1 + 6 + 2 * 24);
/// How much more memory the largest sweep may need than the smallest.
const MOST_GROWTH: f64 = 1.1;

/// Measures, prints a table, and fails if memory grows with the trials.
///
/// # Errors
/// If a run fails, or memory grows.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = Program::find(arguments.program.as_deref())?;
    let folder = root().join("target/sweep-memory");
    let mut peaks = Vec::new();
    println!("{:>10}  {:>12}  {:>12}", "trials", "sweep, MiB", "run, MiB");
    for &trials in &arguments.trials {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let numbers = (trials / TRIALS_PER_NUMBER).max(1);
        let settings = [
            ("select.max_prompts", 24.into()),
            ("sweep.trials", i64::try_from(numbers)?.into()),
            ("sweep.max_prompts", 1.into()),
            ("sweep.max_new_tokens", i64::from(arguments.tokens).into()),
            ("sweep.controls_per_feature", 1.into()),
            ("pathways.sources", 2.into()),
            ("pathways.second_wave", 1.into()),
            ("pathways.control_sources", 1.into()),
            ("pathways.max_prompts", 1.into()),
        ];
        let scenario = small_scenario::write(&folder, &settings)?.display().to_string();
        let out = folder.join("run").display().to_string();
        let command = |verb: &str, rest: &[&str]| -> Vec<String> {
            [&[verb, &scenario, "--out", &out], rest]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let sweep = program.peak_memory(&command("sweep", &[]))?;
        let rest = program.peak_memory(&command("run", &["--resume"]))?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:>10}  {:>12.1}  {:>12.1}",
            numbers * TRIALS_PER_NUMBER,
            mebibytes(sweep),
            mebibytes(rest)
        );
        peaks.push(sweep as f64);
    }
    fs::remove_dir_all(&folder)?;
    if let (Some(first), Some(last)) = (peaks.first(), peaks.last())
        && last / first > MOST_GROWTH
    {
        bail!(
            "the sweep's memory grows with its trials: by {:.2}×, at most {MOST_GROWTH}× is allowed",
            last / first
        );
    }
    Ok(())
}
