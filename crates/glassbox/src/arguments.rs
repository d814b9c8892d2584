//! Every verb and flag, in one place.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use glassbox_corpus::ActivationType;
use glassbox_logs::audit::Analysis;
use glassbox_model::load_options::WeightType;
use glassbox_store::SweepShard;

use crate::corpus_arguments::CorpusArguments;
use crate::feature_setting::FeatureSetting;
use crate::log_arguments::{CausalArguments, WordsArguments};
use crate::requirements::Requirements;

/// A workbench for mechanistic interpretability of language models.
///
/// Finds which features of a model causally drive a behaviour, how they act on one another from layer to layer, and
/// which words they control, with the controls that show the findings are not artefacts.
#[derive(Debug, Parser)]
#[command(name = "glassbox", version, propagate_version = true)]
#[command(
    after_help = "Start with: glassbox demo\n\nExit codes: 0 done; 1 the science failed a stated check; 2 bad \
                        input or usage; 3 interrupted or partial, continue with --resume."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Threads to compute with; all processors by default. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// No progress and no notes on stderr; errors still appear.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the whole chain on the shipped model and write a report, in minutes.
    #[command(after_help = "Example: glassbox demo --out my-demo")]
    Demo(DemoArguments),
    /// Run all stages of a scenario file, resumable.
    #[command(
        after_help = "Examples:\n  glassbox run scenario.toml --out runs/first --dry-run\n  glassbox run \
                            scenario.toml --out runs/first --pilot 3\n  glassbox run scenario.toml --out runs/first --resume"
    )]
    Run(RunArguments),
    /// Run the trials of a scenario alone: whole, or as one shard of several processes.
    #[command(
        after_help = "Examples:\n  glassbox sweep scenario.toml --out runs/first --shard 2/4\n  glassbox sweep scenario.toml \
                            --out runs/first --shard-count 16 --resume    (in a SLURM array job)\n\nShards are counted from 0. Without \
                            --shard or --shard-index the index is SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, where one is set."
    )]
    Sweep(SweepArguments),
    /// Put the shards of a sweep together into one run.
    #[command(after_help = "Example: glassbox merge runs/shard-0 runs/shard-1 --out runs/whole")]
    Merge(MergeArguments),
    /// Say what a checkpoint, a dictionary, a run directory or a table holds, and whether it is usable.
    #[command(after_help = "Example: glassbox inspect runs/first")]
    Inspect(InspectArguments),
    /// Generate text from a model.
    #[command(
        after_help = "Example: glassbox generate --model DIR --prompt 'Once upon a time' --greedy --max-new-tokens 40"
    )]
    Generate(GenerateArguments),
    /// Write the values at chosen sites of one forward pass, and the logits, to a safetensors file.
    #[command(
        after_help = "Example: glassbox trace --model DIR --prompt 'Hello' --sites 'blocks.*.hook_resid_post' --out t.safetensors"
    )]
    Trace(TraceArguments),
    /// Write the activations of a corpus at any sites, all of one forward pass, as shards that training reads.
    #[command(
        after_help = "Examples:\n  glassbox extract MODEL --corpus wiki/ --sites 'blocks.{0..5}.hook_resid_post' --tokens 1000000 \
                            --out activations\n  glassbox extract MODEL --corpus org/data --min-characters 100 --sites \
                            'blocks.*.hook_mlp_out' --dtype bf16 --out activations --resume\n\nStopped or killed, it keeps its finished \
                            shards; --resume goes on after them and gives the same bytes."
    )]
    Extract(ExtractArguments),
    /// Encode and reconstruct activations with a dictionary.
    #[command(
        after_help = "Example: glassbox encode --dictionary DIR --input x.safetensors --out features.safetensors"
    )]
    Encode(EncodeArguments),
    /// Train dictionaries on the activations of a model.
    #[command(
        after_help = "Examples:\n  glassbox train DIR --corpus texts/ --sites 'blocks.{1,3}.hook_resid_post' --k 32 --features 16d \
                            --tokens 2000000 --out trained\n  glassbox train DIR --corpus texts/ --config train.toml --out trained --resume\n  glassbox train --activations activations/ --k 32 --out trained\n\nThe \
                            settings file is described in docs/concepts/training.md."
    )]
    Train(TrainArguments),
    /// Patch activations of a clean run into a corrupted run, at every layer and position.
    #[command(
        after_help = "Example: glassbox patch DIR --clean 'When Mary and John went home, John gave it to' --corrupted 'When \
                            Mary and John went home, Mary gave it to' --metric 'logit_difference \" Mary\" \" John\"' --out patch.parquet"
    )]
    Patch(PatchArguments),
    /// Estimate the effect of every feature on a decision, or on a feature, from gradients.
    #[command(
        after_help = "Examples:\n  glassbox screen scenario.toml --out screen.parquet\n  glassbox screen scenario.toml --target \
                            L5-123 --mode zero --steps 10 --out screen.parquet"
    )]
    Screen(ScreenArguments),
    /// Measure what dictionaries are worth: reconstruction, sparsity, and the model's loss with the dictionary in its place.
    #[command(
        after_help = "Examples:\n  glassbox evaluate MODEL dictionaries --corpus held-out.jsonl\n  glassbox evaluate MODEL \
                            dictionaries/L3 --corpus text.parquet --require ev=0.9,l0=16,dead=0.1\n\nWhere a dictionary records how its \
                            training split the documents, it is judged on those held out.\n\nOld runs of GhostTrack: glassbox evaluate \
                            --states layer_12_states.pt sae_layer_12_best.pt trained/dictionaries"
    )]
    Evaluate(EvaluateArguments),
    /// Describe all features of dictionaries in one pass over a corpus: contexts, tokens, logit weights, neighbours; a page to browse.
    #[command(
        after_help = "Examples:\n  glassbox features MODEL dictionaries --corpus text.jsonl --out features\n  glassbox features \
                            features --show L3-120\n  glassbox features MODEL dictionaries/L3 --corpus text.jsonl --out features \
                            --endpoint http://localhost:8000/v1 --label-model NAME"
    )]
    Features(FeaturesArguments),
    /// Check the trial logs of an experiment: what is in them, what is wrong with them, and whether they support an analysis.
    #[command(
        after_help = "Examples:\n  glassbox audit response_logs/ --for effects\n  glassbox audit trials.jsonl --compare-parsers \
                            scan,b-complete --html audit.html\n  glassbox audit logs/ means.json --dictionary dictionaries/ --json\n  glassbox audit \
                            --show-parser scan > my-parser.toml\n\nExit code 1 says that the data do not support the analysis."
    )]
    Audit(AuditArguments),
    /// Write trial logs as tables, with a list of every row that cannot be used.
    #[command(
        after_help = "Examples:\n  glassbox import response_logs/ --out imported\n  glassbox import trials.jsonl.gz --parser \
                            b-complete --out imported"
    )]
    Import(ImportArguments),
    /// Say from trial logs alone which features change the outcome: value against value, doses, and what all share.
    #[command(
        after_help = "Examples:\n  glassbox causal response_logs/\n  glassbox causal trials.jsonl --parser b-reparse --outcome stop --json\n  \
                            glassbox causal response_logs/ --criterion study-scan --html effects.html --out tables\n\nExit code 1: the data cannot tell."
    )]
    Causal(CausalArguments),
    /// Say from trial logs alone which words features add to responses or remove from them.
    #[command(
        after_help = "Examples:\n  glassbox words response_logs/\n  glassbox words trials.jsonl --stem --view tf-idf\n  glassbox words \
                            response_logs/ --html words.html --out words.parquet\n\nA word counts once per response. Exit code 1: no word \
                            stands out, which does not show that none changes."
    )]
    Words(WordsArguments),
    /// Write the HTML report of a run again.
    #[command(after_help = "Example: glassbox report runs/first")]
    Report(ReportArguments),
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Folder for the run; the shipped model is unpacked into it as well.
    #[arg(long, value_name = "DIR", default_value = "glassbox-demo")]
    pub out: PathBuf,
    /// Continue an interrupted demo in the same folder.
    #[arg(long)]
    pub resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The scenario, or the job of dictionaries (TOML).
    pub config: PathBuf,
    /// Folder for the run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Continue an interrupted run; what is complete is not done again.
    #[arg(long)]
    pub resume: bool,
    /// Print the plan with trials, memory, disk and time, and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Run the first N selected features only, and print time, memory and disk for the whole.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub pilot: Option<usize>,
    /// Of a job of dictionaries: write the activations, and go no further.
    #[arg(long, conflicts_with = "train_only")]
    pub extract_only: bool,
    /// Of a job of dictionaries: train on the activations that are there, and go no further.
    #[arg(long)]
    pub train_only: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `sweep`.
#[derive(Debug, Args)]
pub struct SweepArguments {
    /// The scenario file (TOML).
    pub config: PathBuf,
    /// Folder for the run; shards may share one on a common file system, or have one each.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Continue what is there; what is complete is not done again.
    #[arg(long)]
    pub resume: bool,
    /// Shard i of n, counted from 0: 0/4, 1/4, 2/4 and 3/4 for four shards.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["shard_index", "shard_count"])]
    pub shard: Option<SweepShard>,
    /// Index of the shard, from 0.
    #[arg(long, value_name = "I", requires = "shard_count")]
    pub shard_index: Option<u32>,
    /// Number of shards.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard_count: Option<u32>,
    /// Take the selection and the plan of this run over instead of making them.
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,
    /// Select features, write the plan, and stop.
    #[arg(long, conflicts_with_all = ["shard", "shard_index", "shard_count", "plan"])]
    pub plan_only: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// Folders that `sweep --shard` wrote, all shards of one sweep.
    #[arg(required = true, value_name = "SHARD_DIR")]
    pub shards: Vec<PathBuf>,
    /// Folder for the merged run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Continue a merge that was interrupted.
    #[arg(long)]
    pub resume: bool,
    /// Merge shards of processors with different instruction sets, whose numbers may differ in the last digits.
    #[arg(long)]
    pub allow_mixed_processors: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// A model folder or hub id, a dictionary (a folder, or a file that is one), a run directory, a Parquet file, a file
    /// of tensors (.safetensors, .pt, .pth, .npz, .npy), a training history of GhostTrack.
    pub path: PathBuf,
    /// Rows of a table to show.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub rows: usize,
    /// Features of the dictionary that a GhostTrack history belongs to, where its checkpoint does not lie beside it.
    #[arg(long, value_name = "N")]
    pub features: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// Model folder, or hub id in the local Hugging Face cache.
    #[arg(long, value_name = "DIR|ID")]
    pub model: String,
    /// Type in which the weights are held: stored, f32 or bf16 (half the memory, a relative error of up to 2^-9 each).
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// Text to continue; empty starts from the beginning-of-sequence token.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub prompt: String,
    /// Always take the likeliest token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    pub greedy: bool,
    /// New tokens at most.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_least_one)]
    pub max_new_tokens: usize,
    /// Softmax temperature; below 1 sharpens, 0 is greedy.
    #[arg(long, default_value_t = 1.0)]
    pub temperature: f32,
    /// Sample among the k likeliest tokens only; 0 is all.
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Sample among the smallest set of tokens that holds this probability.
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub top_p: f32,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Completions to draw; trial i of a seed is always the same.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub trials: u32,
    /// Stop when the completion holds this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Dictionaries for --set: one dictionary folder, or a folder of them.
    #[arg(long, value_name = "DIR", requires = "set")]
    pub dictionaries: Option<PathBuf>,
    /// Set a feature at the last prompt position and every generated one, by delta: L25-10096=3.5. May be given several times.
    #[arg(long, value_name = "FEATURE=VALUE", requires = "dictionaries")]
    pub set: Vec<FeatureSetting>,
    /// Print the prompt before the completion.
    #[arg(long)]
    pub echo: bool,
    /// Print JSON: token ids, stop reason, text.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `trace`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["prompt", "tokens"]))]
pub struct TraceArguments {
    /// Model folder, or hub id in the local Hugging Face cache.
    #[arg(long, value_name = "DIR|ID")]
    pub model: String,
    /// Type in which the weights are held: stored, f32 or bf16 (half the memory, a relative error of up to 2^-9 each).
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// Text. The beginning-of-sequence token is put in front where the family's models are trained with it.
    #[arg(long, allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Token ids instead of text, taken as they are.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub tokens: Option<Vec<u32>>,
    /// Sites to write: TransformerLens names, with * and ? as wildcards, separated by commas.
    #[arg(long, value_name = "GLOB,…")]
    pub sites: String,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print names and shapes as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `extract`.
#[derive(Debug, Args)]
pub struct ExtractArguments {
    /// Model folder, or hub id in the local Hugging Face cache.
    #[arg(value_name = "DIR|ID")]
    pub model: String,
    /// Type in which the weights are held: stored, f32 or bf16 (half the memory, a relative error of up to 2^-9 each).
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// The corpus, and how it becomes rows.
    #[command(flatten)]
    pub corpus: CorpusArguments,
    /// Sites to write: TransformerLens names, with *, ?, {0,3} and {0..5}, separated by commas.
    #[arg(long, value_name = "GLOB,…")]
    pub sites: String,
    /// Tokens to write at most; by default the whole corpus.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: Option<u64>,
    /// Type of the stored values: f16, bf16 or f32.
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub dtype: ActivationType,
    /// Tokens of one forward pass at most, padding included.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = at_least_one)]
    pub batch_tokens: usize,
    /// Size of a shard in MiB; about twice as much is held in memory.
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub shard_size: u64,
    /// GiB that the folder may have; by default what the disk has.
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub disk_limit: Option<u64>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Continue what is there; finished shards are not written again.
    #[arg(long)]
    pub resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `encode`.
#[derive(Debug, Args)]
pub struct EncodeArguments {
    /// Dictionary folder.
    #[arg(long, value_name = "DIR")]
    pub dictionary: PathBuf,
    /// Safetensors file with a tensor `x` [n, d].
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// File to write: `features` [n, F] and `reconstruction` [n, d].
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a dictionary is trained to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ArchitectureArgument {
    /// ReLU with an L1 penalty; needs --l1.
    Relu,
    /// Gates and magnitudes with an L1 penalty; needs --l1.
    Gated,
    /// The k largest features of each token; needs --k.
    Topk,
    /// The n·k largest features of each batch of n tokens; needs --k.
    BatchTopk,
    /// A threshold per feature; needs --l0.
    Jumprelu,
    /// BatchTopK on nested prefixes of the features; needs --k.
    Matryoshka,
}

/// A format that a dictionary is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainFormatArgument {
    /// This program's own, with settings and measured figures.
    Glassbox,
    /// SAELens 6.
    Saelens,
}

/// Flags of `train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    /// Model folder, or hub id in the local Hugging Face cache. With --activations it need not be named; it is checked if it is.
    #[arg(value_name = "DIR|ID")]
    pub model: Option<String>,
    /// Type in which the weights are held: stored, f32 or bf16 (half the memory, a relative error of up to 2^-9 each).
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// The corpus, and how it becomes rows.
    #[command(flatten)]
    pub corpus: CorpusArguments,
    /// Train on what `extract` has written to this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["corpus", "context", "packing", "bos", "first_position", "held_out", "split_seed", "longest_document"])]
    pub activations: Option<PathBuf>,
    /// Train on hidden states that GhostTrack has extracted: one file for each layer (layer_N_states.pt).
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["corpus", "activations", "model", "context", "packing", "bos", "first_position", "held_out", "split_seed", "longest_document"])]
    pub states: Vec<PathBuf>,
    /// Tokens of one forward pass.
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = at_least_one)]
    pub forward_tokens: usize,
    /// Settings of all dictionaries (TOML), instead of the flags below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sites", "output_sites", "skip", "architecture", "k", "l1", "l0", "features", "seeds", "learning_rate"])]
    pub config: Option<PathBuf>,
    /// Sites to train a dictionary for each: TransformerLens names, with *, ?, {0,3} and {0..5}, separated by commas. Of stored
    /// activations, all unless named.
    #[arg(long, value_name = "GLOB,…")]
    pub sites: Option<String>,
    /// For transcoders: the sites to be written, as many as --sites selects, in the same order.
    #[arg(long, value_name = "GLOB,…")]
    pub output_sites: Option<String>,
    /// Give transcoders a linear map from input to output besides.
    #[arg(long, requires = "output_sites")]
    pub skip: bool,
    /// What is trained.
    #[arg(long, value_enum, default_value_t = ArchitectureArgument::Topk)]
    pub architecture: ArchitectureArgument,
    /// Features per token of topk, batch_topk and matryoshka.
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    pub k: Option<usize>,
    /// Coefficient of the penalty of relu and gated, for activations of unit variance.
    #[arg(long, value_name = "X")]
    pub l1: Option<f64>,
    /// Features per token that jumprelu aims at.
    #[arg(long, value_name = "L0")]
    pub l0: Option<f64>,
    /// Number of features, or a multiple of the site's width such as 16d.
    #[arg(long, default_value = "16d", value_name = "F")]
    pub features: glassbox_training::FeatureCount,
    /// Seeds of the first weights, one dictionary each, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,…")]
    pub seeds: Vec<u64>,
    /// Learning rate; by the number of features unless given.
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Tokens to train on; 2 million unless given here or in the settings.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: Option<u64>,
    /// Tokens of a step; unless given here or in the settings, as many as give two thousand steps, within 512 to 4096.
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Tokens that the shuffle buffer holds.
    #[arg(long, value_name = "N")]
    pub shuffle: Option<usize>,
    /// Folder for the run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Format of the dictionaries.
    #[arg(long, value_enum, default_value_t = TrainFormatArgument::Glassbox)]
    pub format: TrainFormatArgument,
    /// Continue an interrupted run; what follows is the same to the bit.
    #[arg(long)]
    pub resume: bool,
    /// Print figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `patch`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("clean_input").required(true).args(["clean", "clean_tokens"]))]
#[command(group = clap::ArgGroup::new("corrupted_input").required(true).args(["corrupted", "corrupted_tokens"]))]
pub struct PatchArguments {
    /// Model folder, or hub id in the local Hugging Face cache.
    #[arg(value_name = "DIR|ID")]
    pub model: String,
    /// Type in which the weights are held: stored, f32 or bf16 (half the memory, a relative error of up to 2^-9 each).
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// The prompt whose activations are put in.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub clean: Option<String>,
    /// The prompt that they are put into; as many tokens as the clean one.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub corrupted: Option<String>,
    /// Token ids instead of the clean text, taken as they are.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub clean_tokens: Option<Vec<u32>>,
    /// Token ids instead of the corrupted text, taken as they are.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub corrupted_tokens: Option<Vec<u32>>,
    /// What is read from the logits of the last position: logit A, logit_difference A B or log_probability A. A token is
    /// its text as it follows the prompts, in quotation marks where it holds a space, or its id as #123.
    #[arg(long, value_name = "METRIC")]
    pub metric: String,
    /// What is patched: resid_pre, resid_mid, attn_out, mlp_out; several separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "SITE,…",
        default_value = "resid_pre"
    )]
    pub sites: Vec<String>,
    /// Parquet file to write, one row per cell.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print the cells as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `screen`.
#[derive(Debug, Args)]
pub struct ScreenArguments {
    /// The scenario file (TOML); its selection prompts are screened.
    pub config: PathBuf,
    /// What the features act on: `decision` (the log-odds of the scenario's [decision]), or a feature such as L5-123.
    #[arg(long, value_name = "TARGET", default_value = "decision")]
    pub target: String,
    /// The edit: `values` (set to value B against set to value A) or `zero` (ablated against left alone).
    #[arg(long, value_enum, default_value_t = ScreenModeArgument::Values)]
    pub mode: ScreenModeArgument,
    /// Points of the gradient's path (integrated gradients); 1 is one pass forward and one back per prompt.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: u32,
    /// Prompts per family at most.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub prompts: Option<usize>,
    /// Features to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Features from the top, and as many random ones, whose exact effect is computed for comparison; 0 is none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub check: usize,
    /// Parquet file to write, one row per feature with an effect.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `--mode` of `screen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScreenModeArgument {
    /// Set to value B against set to value A.
    Values,
    /// Ablated against left alone.
    Zero,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The run directory.
    pub run: PathBuf,
    /// Print the path as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// Model folder, or hub id in the local Hugging Face cache, then dictionaries or folders of them. With --states no model.
    #[arg(required = true, value_name = "MODEL DICT")]
    pub inputs: Vec<PathBuf>,
    /// Type in which the model's weights are held: stored, f32 or bf16.
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// The corpus.
    #[command(flatten)]
    pub corpus: CorpusArguments,
    /// Activations that `extract` wrote, in place of a corpus; the model's loss is not measured then.
    #[arg(long, value_name = "DIR", conflicts_with = "corpus")]
    pub activations: Option<PathBuf>,
    /// Hidden states of one layer that GhostTrack extracted (layer_N_states.pt), in place of a corpus and of the model.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["corpus", "activations"])]
    pub states: Option<PathBuf>,
    /// Tokens that count as data, at least.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: u64,
    /// Use all documents, also those that the dictionary was trained on.
    #[arg(long)]
    pub all_documents: bool,
    /// Leave out the model's loss, which needs three more passes per dictionary.
    #[arg(long)]
    pub no_loss: bool,
    /// Figures that every dictionary must reach, else exit code 1: ev, cosine, recovered at least; l0, dead, kl at most.
    #[arg(long, value_name = "NAME=LIMIT,…")]
    pub require: Option<Requirements>,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// JSON file to write.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `features`.
#[derive(Debug, Args)]
pub struct FeaturesArguments {
    /// The model and the dictionaries (or folders of them); with --show the folder of an earlier census.
    #[arg(required = true, value_name = "MODEL DICT")]
    pub paths: Vec<PathBuf>,
    /// Type in which the model's weights are held: stored, f32 or bf16.
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub weights: WeightType,
    /// The corpus.
    #[command(flatten)]
    pub corpus: CorpusArguments,
    /// Tokens to read, about.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: u64,
    /// Folder to write; every dictionary gets a folder in it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tokens shown before a context's peak.
    #[arg(long, value_name = "N")]
    pub context_before: Option<usize>,
    /// Tokens shown after it.
    #[arg(long, value_name = "N")]
    pub context_after: Option<usize>,
    /// Contexts kept from the top.
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Seed of the samples.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write batches for Neuronpedia too, under this name of the set.
    #[arg(long, value_name = "SET")]
    pub neuronpedia: Option<String>,
    /// Show one feature of an earlier census: L3-120.
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["corpus", "out", "endpoint"])]
    pub show: Option<String>,
    /// Ask this OpenAI-compatible endpoint for labels; contexts of the corpus are sent to it. Nothing is sent without this flag.
    #[arg(long, value_name = "URL", requires = "label_model")]
    pub endpoint: Option<String>,
    /// Name of the model that is asked.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub label_model: Option<String>,
    /// Environment variable that holds the endpoint's key.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub endpoint_key_variable: Option<String>,
    /// Seconds that a request may take.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub endpoint_timeout: u64,
    /// Features to label, the most consistent first.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub label_features: usize,
    /// Features asked about at the same time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    pub label_requests: usize,
    /// Print the summary (with --show the feature) as JSON.
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}

/// A number above 0 and at most 1.
fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0 and at most 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}

/// Flags of `audit`.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// Files (JSON, JSON lines, also .gz and .zst, Parquet) and folders that hold them; run directories and imports too.
    #[arg(value_name = "LOGS", required_unless_present = "show_parser")]
    pub logs: Vec<PathBuf>,
    /// What the logs are wanted for: effects, dose or words. Without it: dose for logs of doses, effects for others.
    #[arg(long = "for", value_name = "ANALYSIS")]
    pub analysis: Option<Analysis>,
    /// Planned trials per cell. Without it: the number that most cells have.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub planned_trials: Option<u64>,
    /// Fewest trials of a cell that a comparison needs.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub fewest_trials: u64,
    /// Read outcomes with a parser (a shipped one by name, or a parser file) in place of what the logs state.
    #[arg(long, value_name = "PARSER")]
    pub parser: Option<String>,
    /// Compare two parsers on every response.
    #[arg(long, value_name = "PARSER,PARSER", value_delimiter = ',')]
    pub compare_parsers: Vec<String>,
    /// Dictionaries that the features should come from: a dictionary, or a folder with one per layer.
    #[arg(long, value_name = "DIR")]
    pub dictionary: Option<PathBuf>,
    /// Number of features of the dictionaries, where they are not at hand.
    #[arg(long, value_name = "N", conflicts_with = "dictionary")]
    pub dictionary_features: Option<u64>,
    /// Width of the model's residual stream, to notice indices that are positions in it.
    #[arg(long, value_name = "N", requires = "dictionary_features")]
    pub model_width: Option<u64>,
    /// Regular expression that marks a response which repeats the prompt.
    #[arg(long, value_name = "REGEX")]
    pub echo: Option<String>,
    /// Print the file of a shipped parser, to begin one's own from.
    #[arg(long, value_name = "PARSER", exclusive = true)]
    pub show_parser: Option<String>,
    /// File for a page with figures and tables (HTML, one file, works offline).
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print the audit as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Files and folders, as for `audit`.
    #[arg(value_name = "LOGS", required = true)]
    pub logs: Vec<PathBuf>,
    /// Folder for the tables; new or empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Read outcomes with a parser (a shipped one by name, or a parser file) in place of what the logs state.
    #[arg(long, value_name = "PARSER")]
    pub parser: Option<String>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}
