//! The flags of `bench-logs`.

use std::path::PathBuf;

use crate::bench_logs::peer::Style;

/// What to measure, and how.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Folder of the logs; made by `synthetic-logs` where it is missing (1 GB).
    #[arg(long, default_value = "target/synthetic-logs")]
    pub logs: PathBuf,
    /// Measurements of each side, taken in turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Threads of glassbox, processes of the peer.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
    /// Only these styles of the peer.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub style: Vec<Style>,
    /// The program to measure; without it the release is built.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// A Python interpreter that has `tools/logs_peer/requirements.txt`; without it an environment is installed.
    #[arg(long)]
    pub python: Option<PathBuf>,
    /// Folder for results, and for the environment that is installed.
    #[arg(long, default_value = "target/bench-logs")]
    pub out: PathBuf,
    /// Print the measurements as JSON.
    #[arg(long)]
    pub json: bool,
    /// Put the table, with machine and versions, into the marked place of this Markdown file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}
