//! Chores of the project; `cargo xtask demo-model` makes everything in `assets/demo`, `cargo xtask bench-peers` measures
//! glassbox against the programs that researchers use today.

mod bench_peers;
mod checkpoint;
mod corpus;
mod demo_model;
mod dictionary;
mod evaluation;
mod game;
mod likelihood;
mod phrases;
mod policy;
mod prompt;
mod prompt_files;
mod readme;
mod recipe;
mod response;
mod rng;
mod sample;
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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::DemoModel { out, only, evaluate } => {
            let stages = match (evaluate, only.is_empty()) {
                (true, _) => vec![Stage::Evaluate],
                (false, true) => vec![
                    Stage::Prompts,
                    Stage::Model,
                    Stage::Dictionaries,
                    Stage::Thresholds,
                    Stage::Evaluate,
                ],
                (false, false) => only,
            };
            demo_model::run(&DemoRecipe::default(), &out, &stages)
        }
        Chore::BenchPeers(arguments) => bench_peers::run(&arguments),
    }
}
