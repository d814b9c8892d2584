//! `run` with a job of dictionaries: corpus, activations, training, evaluation, features.

use std::path::PathBuf;

use glassbox_dictionary::GhostTrackHistory;
use glassbox_dictionary_job::{
    Check, CompareSettings, DictionaryOutcome, JobOutcome, JobRequest, JobSettings, JobWatch, Stage, Verdict,
    run,
};
use glassbox_experiment::events::{Event, Reporter as _};
use serde_json::{Value, json};

use crate::arguments::RunArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::shell::word;
use crate::table::{duration, table};

/// Runs the job of a file, and prints its checklist.
///
/// # Errors
/// A [`CliError`] if an input cannot be used, or the job was stopped.
pub fn run_job(arguments: &RunArguments, quiet: bool) -> Result<u8, CliError> {
    if arguments.dry_run || arguments.pilot.is_some() {
        return Err(CliError::usage_with_hint(
            format!(
                "{} is a job of dictionaries; --dry-run and --pilot are for scenarios",
                arguments.config.display()
            ),
            "run it with --extract-only and a small `extract.tokens` to see what it costs",
        ));
    }
    let settings = JobSettings::read(&arguments.config)?;
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(quiet, interrupt.flag());
    let compared = histories(&settings)?;
    let request = JobRequest {
        out: arguments.out.clone(),
        resume: arguments.resume,
        stages: stages(arguments),
        settings,
    };
    let again = format!(
        "glassbox run {} --out {} --resume",
        word(&arguments.config),
        word(&arguments.out)
    );
    let outcome =
        run(request, &Watching(&progress)).map_err(|error| CliError::from(error).resumable_by(again))?;
    if arguments.json {
        print_json(&described(&outcome, &compared))?;
    } else {
        print(&text(&outcome, &compared, &arguments.out))?;
    }
    Ok(exit_code_of(&outcome))
}

fn stages(arguments: &RunArguments) -> Vec<Stage> {
    match (arguments.extract_only, arguments.train_only) {
        (true, _) => vec![Stage::Extract],
        (_, true) => vec![Stage::Train],
        _ => Vec::new(),
    }
}

/// 3 where a dictionary failed and the others are done, 1 where a target is missed.
fn exit_code_of(outcome: &JobOutcome) -> u8 {
    let dictionaries = &outcome.dictionaries;
    if dictionaries.iter().any(|dictionary| dictionary.failure.is_some()) {
        exit_code::PARTIAL
    } else if dictionaries
        .iter()
        .flat_map(|dictionary| &dictionary.checks)
        .any(|check| check.verdict == Verdict::Missed)
    {
        exit_code::CHECK_FAILED
    } else {
        exit_code::DONE
    }
}

/// A run of GhostTrack that is listed beside the job.
struct Compared {
    file: PathBuf,
    epochs: usize,
    mean_squared_error: f64,
    active_share: f64,
    l0: Option<f64>,
}

fn histories(settings: &JobSettings) -> Result<Vec<Compared>, CliError> {
    let CompareSettings { histories, features } = &settings.compare;
    let mut compared = Vec::new();
    for file in histories {
        let history = GhostTrackHistory::read(&settings.folder.join(file))?;
        let features = match features {
            Some(features) => Some(*features),
            None => history.features_beside()?,
        };
        let Some((_, best)) = history.best() else { continue };
        compared.push(Compared {
            file: file.clone(),
            epochs: history.epochs.len(),
            mean_squared_error: best.mean_squared_error,
            active_share: best.active_share,
            l0: features.map(|features| best.l0(features)),
        });
    }
    Ok(compared)
}

fn text(outcome: &JobOutcome, compared: &[Compared], out: &std::path::Path) -> String {
    let figure = |check: &Check| {
        let found = check
            .found
            .map_or("–".to_owned(), |found| number(check.what, found));
        format!("{} {found}", check.verdict.sign())
    };
    let mut headings = vec!["dictionary".to_owned()];
    if let Some(first) = outcome.dictionaries.first() {
        headings.extend(first.checks.iter().map(|check| check.what.to_owned()));
    }
    let rows: Vec<Vec<String>> = outcome
        .dictionaries
        .iter()
        .map(|dictionary| {
            std::iter::once(dictionary.name.clone())
                .chain(dictionary.checks.iter().map(figure))
                .collect()
        })
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut text = table(&headings, &rows);
    if let Some(first) = outcome.dictionaries.first() {
        let targets: Vec<String> = first
            .checks
            .iter()
            .filter_map(|check| {
                let sign = if check.at_least { "≥" } else { "≤" };
                Some(format!(
                    "{} {sign} {}",
                    check.what,
                    number(check.what, check.target?)
                ))
            })
            .collect();
        text.push_str(&format!("targets: {}\n", targets.join(", ")));
    }
    for dictionary in &outcome.dictionaries {
        if let Some(failure) = &dictionary.failure {
            text.push_str(&format!("{} failed in {failure}\n", dictionary.name));
        }
    }
    if !compared.is_empty() {
        let rows: Vec<Vec<String>> = compared
            .iter()
            .map(|run| {
                vec![
                    run.file.display().to_string(),
                    run.epochs.to_string(),
                    format!("{:.6}", run.mean_squared_error),
                    format!("{:.3}", run.active_share),
                    run.l0.map_or("–".to_owned(), |l0| format!("{l0:.0}")),
                ]
            })
            .collect();
        text.push_str("\nolder runs (the active share times the number of features is their L0):\n");
        text.push_str(&table(
            &["history", "epochs", "held-out MSE", "active share", "L0"],
            &rows,
        ));
    }
    let seconds: Vec<String> = outcome
        .seconds
        .iter()
        .map(|(stage, seconds)| format!("{stage} {}", duration(*seconds)))
        .collect();
    text.push_str(&format!("time: {}\n", seconds.join(", ")));
    let features = out.join("features");
    if let Some(first) = outcome.dictionaries.first()
        && features.join(&first.name).is_dir()
    {
        text.push_str(&format!(
            "one feature: glassbox features {} --show L{}-0\n",
            word(&features),
            first.layer
        ));
    }
    text
}

fn number(what: &str, value: f64) -> String {
    match what {
        "files" => format!("{value:.0}"),
        "L0" => format!("{value:.2}"),
        "late change" => format!("{value:.4}"),
        _ => format!("{value:.3}"),
    }
}

fn described(outcome: &JobOutcome, compared: &[Compared]) -> Value {
    let dictionary = |dictionary: &DictionaryOutcome| {
        json!({
            "name": dictionary.name,
            "layer": dictionary.layer,
            "failure": dictionary.failure,
            "checks": dictionary.checks,
        })
    };
    let older = |run: &Compared| {
        json!({
            "history": run.file,
            "epochs": run.epochs,
            "mean_squared_error": run.mean_squared_error,
            "active_share": run.active_share,
            "l0": run.l0,
        })
    };
    json!({
        "dictionaries": outcome.dictionaries.iter().map(dictionary).collect::<Vec<_>>(),
        "compared": compared.iter().map(older).collect::<Vec<_>>(),
        "seconds": outcome.seconds.iter().map(|(stage, seconds)| (stage.name().to_owned(), json!(seconds))).collect::<serde_json::Map<_, _>>(),
    })
}

struct Watching<'a>(&'a Progress);

impl JobWatch for Watching<'_> {
    fn begun(&self, stage: Stage, unit: &'static str, total: u64, done: u64) {
        self.0.report(Event::StageStarted {
            stage: stage.name(),
            unit,
            total,
            done,
        });
    }

    fn advanced(&self, stage: Stage, units: u64, note: Option<String>) {
        let tokens = if note.is_some() { 0 } else { units };
        self.0.report(Event::Advanced {
            stage: stage.name(),
            units,
            tokens,
        });
        if let Some(note) = note {
            self.0.note(&note);
        }
    }

    fn ended(&self, stage: Stage, summary: String, seconds: f64) {
        self.0.report(Event::StageFinished {
            stage: stage.name(),
            summary,
            seconds,
        });
    }

    fn failed(&self, stage: Stage, dictionary: &str, why: &str) {
        self.0.report(Event::Warning(format!(
            "{dictionary} is given up in stage {stage}: {why}"
        )));
    }

    fn should_stop(&self) -> bool {
        self.0.should_stop()
    }
}
