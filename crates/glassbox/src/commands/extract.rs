//! `extract`: the activations of a corpus as files.

use std::path::Path;
use std::time::Instant;

use glassbox_corpus::{
    ActivationManifest, ExtractPlan, ExtractRequest, ExtractSettings, ExtractWatch, RowOptions,
    extract as write,
};
use glassbox_experiment::events::{Event, Reporter as _};
use glassbox_model::model_hash::model_hash;
use glassbox_store::Storage;
use serde::Serialize;

use crate::arguments::ExtractArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::named_model::NamedModel;
use crate::output::{print, print_json, refuse_input_as_output, tell};
use crate::progress::Progress;
use crate::shell::resuming;
use crate::site_list;
use crate::table::{bytes, count, cut, facts, table};

const STAGE: &str = "extract";

/// Extracts what the flags name.
///
/// # Errors
/// A [`CliError`] if the model, the corpus, a site or the folder cannot be used, or the extraction was stopped.
pub fn extract(arguments: &ExtractArguments, quiet: bool) -> Result<u8, CliError> {
    extract_corpus(arguments, quiet).map_err(|error| error.resumable_by(resuming()))
}

fn extract_corpus(arguments: &ExtractArguments, quiet: bool) -> Result<u8, CliError> {
    let interrupt = Interrupt::listen()?;
    let named = NamedModel::open(&arguments.model, arguments.weights)?;
    let config = named.model.config();
    refuse_input_as_output(&arguments.out, &[&named.folder])?;
    let sites = site_list::select(&arguments.sites, config)?;
    let options = arguments.corpus.rows(RowOptions::default());
    let rows = arguments.corpus.open(&named, &options, None)?;
    let request = ExtractRequest {
        model: &named.model,
        model_hash: model_hash(&named.folder)?,
        rows,
        settings: ExtractSettings {
            sites,
            dtype: arguments.dtype,
            tokens: arguments.tokens,
            batch_tokens: arguments.batch_tokens,
            shard_bytes: arguments.shard_size << 20,
        },
        out: arguments.out.clone(),
        resume: arguments.resume,
        disk_limit: arguments.disk_limit.map(|limit| limit.saturating_mul(1 << 30)),
    };
    let watch = Watch {
        progress: Progress::new(quiet, interrupt.flag()),
        interrupt,
        quiet,
        started: Instant::now(),
    };
    let manifest = write(request, &Storage::new(), &watch)?;
    watch.finished(&manifest);
    if arguments.json {
        print_json(&Summary::new(&arguments.out, &manifest))?;
    } else {
        print(&text(arguments, &manifest))?;
    }
    Ok(exit_code::DONE)
}

/// Shows how far the extraction is, and stops it at a signal.
struct Watch {
    progress: Progress,
    interrupt: Interrupt,
    quiet: bool,
    started: Instant,
}

impl ExtractWatch for Watch {
    fn begun(&self, plan: &ExtractPlan) {
        if !self.quiet {
            let about = if plan.is_guess { "roughly " } else { "" };
            tell(&format!(
                "{about}{} to write ({} per token); {} are free",
                bytes(plan.bytes),
                bytes(plan.bytes_per_token),
                bytes(plan.free_bytes)
            ));
        }
        self.progress.report(Event::StageStarted {
            stage: STAGE,
            unit: "tokens",
            total: plan.stored_tokens + plan.bytes / plan.bytes_per_token.max(1),
            done: plan.stored_tokens,
        });
    }

    fn advanced(&self, tokens: u64) {
        self.progress.report(Event::Advanced {
            stage: STAGE,
            units: tokens,
            tokens,
        });
    }

    fn should_stop(&self) -> bool {
        self.interrupt.came()
    }
}

impl Watch {
    fn finished(&self, manifest: &ActivationManifest) {
        self.progress.report(Event::StageFinished {
            stage: STAGE,
            summary: format!(
                "{} tokens in {} shards",
                count(manifest.tokens(None)),
                manifest.shards.len()
            ),
            seconds: self.started.elapsed().as_secs_f64(),
        });
    }
}

/// What an extraction holds, for machines.
#[derive(Serialize)]
struct Summary<'a> {
    out: &'a Path,
    bytes: u64,
    shards: usize,
    tokens: u64,
    held_out_tokens: u64,
    #[serde(flatten)]
    manifest: Described<'a>,
}

/// The parts of the manifest that say what was made of what.
#[derive(Serialize)]
struct Described<'a> {
    sites: &'a [glassbox_corpus::SourceSite],
    dtype: glassbox_corpus::ActivationType,
    model: &'a str,
    tokenizer: &'a str,
    content: Option<glassbox_store::Checksum>,
    rows: &'a RowOptions,
    counts: Option<&'a glassbox_corpus::ExtractCounts>,
}

impl<'a> Summary<'a> {
    fn new(out: &'a Path, manifest: &'a ActivationManifest) -> Self {
        let split = glassbox_corpus::Split::HeldOut;
        Self {
            out,
            bytes: manifest.shards.iter().map(|shard| shard.bytes).sum(),
            shards: manifest.shards.len(),
            tokens: manifest.tokens(None),
            held_out_tokens: manifest.tokens(Some(split)),
            manifest: Described {
                sites: &manifest.sites,
                dtype: manifest.dtype,
                model: &manifest.model,
                tokenizer: &manifest.tokenizer,
                content: manifest.content,
                rows: &manifest.rows,
                counts: manifest.counts.as_ref(),
            },
        }
    }
}

fn text(arguments: &ExtractArguments, manifest: &ActivationManifest) -> String {
    let summary = Summary::new(&arguments.out, manifest);
    let counts = manifest.counts.unwrap_or_default();
    let (documents, rows) = (counts.documents, counts.rows);
    let facts = facts(&[
        ("corpus", cut(&arguments.corpus.describe(), 80)),
        (
            "documents",
            format!(
                "{} read, {} too short, {} without text, {} cut off, {} of one token, {} without data",
                count(documents.seen),
                count(documents.too_short),
                count(documents.without_text),
                count(rows.truncated_documents),
                count(rows.one_token_documents),
                count(rows.without_data)
            ),
        ),
        (
            "rows",
            format!(
                "{} of up to {} tokens; {} tokens (position 0 and BOS) are no data, {} were cut off",
                count(rows.rows),
                manifest.rows.context,
                count(rows.dropped_tokens),
                count(rows.truncated_tokens)
            ),
        ),
        (
            "tokens",
            format!(
                "{}, of which {} are held out",
                count(summary.tokens),
                count(summary.held_out_tokens)
            ),
        ),
        (
            "files",
            format!(
                "{} shards, {} of {}",
                summary.shards,
                bytes(summary.bytes),
                manifest.dtype
            ),
        ),
        ("written to", arguments.out.display().to_string()),
    ]);
    let sites: Vec<Vec<String>> = manifest
        .sites
        .iter()
        .map(|site| {
            let stored = summary.tokens * (site.width * manifest.dtype.bytes()) as u64;
            vec![site.site.to_string(), site.width.to_string(), bytes(stored)]
        })
        .collect();
    format!("{}\n{facts}", table(&["site", "width", "size"], &sites))
}
