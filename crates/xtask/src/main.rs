//! Chores of the project; `cargo xtask demo-model` makes everything in `assets/demo`, `cargo xtask bench-peers` measures
//! glassbox against the programs that researchers use today.

mod bench_logs;
mod bench_peers;
mod checkpoint;
mod corpus;
mod demo_dictionaries;
mod demo_model;
mod evaluation;
mod game;
mod kill_test;
mod likelihood;
mod marked_place;
mod phrases;
mod policy;
mod program;
mod prompt;
mod prompt_files;
mod python;
mod readme;
mod recipe;
mod response;
mod rng;
mod sample;
mod small_scenario;
mod sweep_memory;
mod synthetic_logs;
mod texts;
mod threads;
mod tokenizer;
mod train;
mod trigram;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::demo_model::Stage;
use crate::recipe::DemoRecipe;

/// Chores of the project.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Make the shipped model: prompts, tokenizer, model, dictionaries, measured figures.
    ///
    /// Example: cargo xtask demo-model
    DemoModel {
        /// Folder to write into.
        #[arg(long, default_value = "assets/demo")]
        out: PathBuf,
        /// Only these stages; later stages read what earlier ones wrote.
        #[arg(long, value_delimiter = ',')]
        only: Vec<Stage>,
        /// Only measure what is there.
        #[arg(long, conflicts_with = "only")]
        evaluate: bool,
    },
    /// Measure the same work here and in PyTorch, transformers and TransformerLens, in one go.
    ///
    /// Example: cargo xtask bench-peers --work decode_1 --json
    BenchPeers(bench_peers::Arguments),
    /// Audit and analyse response logs of a study's size here and in pandas and SciPy, and compare the results and the times.
    ///
    /// Example: cargo xtask bench-logs --rounds 3
    BenchLogs(bench_logs::Arguments),
    /// Kill runs at random moments, whole and in shards, resume them, and compare all tables with an undisturbed run's.
    ///
    /// Example: cargo xtask kill-test --kills 100 --shards 4
    KillTest(kill_test::Arguments),
    /// Measure the peak memory of a sweep with few trials and with many.
    ///
    /// Example: cargo xtask sweep-memory
    SweepMemory(sweep_memory::Arguments),
    /// Write response logs of a made-up experiment with planted effects, as large as the study's: 1.8 million trials, about 1 GB.
    ///
    /// Example: cargo xtask synthetic-logs
    SyntheticLogs(synthetic_logs::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::DemoModel { out, only, evaluate } => {
            let stages = match (evaluate, only.is_empty()) {
                (true, _) => vec![Stage::Evaluate],
                (false, true) => vec![
                    Stage::Prompts,
                    Stage::Model,
                    Stage::Corpus,
                    Stage::Dictionaries,
                    Stage::Evaluate,
                ],
                (false, false) => only,
            };
            demo_model::run(&DemoRecipe::default(), &out, &stages)
        }
        Chore::BenchPeers(arguments) => bench_peers::run(&arguments),
        Chore::BenchLogs(arguments) => bench_logs::run(&arguments),
        Chore::KillTest(arguments) => kill_test::run(&arguments),
        Chore::SweepMemory(arguments) => sweep_memory::run(&arguments),
        Chore::SyntheticLogs(arguments) => synthetic_logs::run(&arguments),
    }
}
