//! The flags of `bench-peers`.

use std::path::PathBuf;

use crate::bench_peers::work::Work;

/// What to measure, and how.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Only these works.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub work: Vec<Work>,
    /// Measurements of each side, taken in turns; by default what each work needs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: Option<u32>,
    /// Threads of either side.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
    /// Folder of the Python environments; what is missing in it is installed.
    #[arg(long, default_value = "target/peers")]
    pub environments: PathBuf,
    /// Folder of the random models and dictionaries (1.3 GB); what is missing in it is made.
    #[arg(long, default_value = "target/peers/data")]
    pub data: PathBuf,
    /// Two measurements of each side and smaller samples: whether it works, not how fast it is.
    #[arg(long)]
    pub quick: bool,
    /// Measure no peer, but the sweep with each way of saving work switched off in turn.
    #[arg(long, conflicts_with_all = ["work", "pairs", "markdown"])]
    pub ablation: bool,
    /// Measure no speed, but how well dictionaries explain activations: trained here, in SAELens and in dictionary_learning on
    /// the same rows (about an hour).
    #[arg(long, conflicts_with_all = ["work", "pairs", "ablation"])]
    pub quality: bool,
    /// Folder of the stories260k model for `--quality`.
    #[arg(long, default_value = "../shared/models/stories260k")]
    pub stories: PathBuf,
    /// Put the result, with machine and versions, into the marked place of this Markdown file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}
