//! `features`: what every feature of some dictionaries means.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glassbox_interpretation::InterpretationError;
use glassbox_interpretation::census::{BackgroundContext, CensusSettings, run_census};
use glassbox_interpretation::exports::{
    CENSUS_FILE, CensusOrigin, LabelSummary, NeuronpediaNames, write_census, write_neuronpedia,
};
use glassbox_interpretation::labels::{HttpEndpoint, LabelError, LabelSettings, label_features};
use glassbox_interpretation::reports::{
    CensusSummary, DictionaryReport, FeatureReport, ReportFacts, TokenTexts, report_features,
};
use glassbox_store::{FolderLock, Storage};
use serde::Serialize;

use crate::arguments::FeaturesArguments;
use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::feature_view::show_feature;
use crate::interrupt::Interrupt;
use crate::named_dictionaries::{open_dictionaries, recorded_rows};
use crate::named_model::NamedModel;
use crate::output::{print, print_json, refuse_input_as_output, tell};
use crate::progress::Progress;
use crate::table::{count, table};
use crate::watching::StageWatch;

/// What is printed for machines.
#[derive(Serialize)]
struct Printed {
    name: String,
    site: String,
    folder: PathBuf,
    #[serde(flatten)]
    summary: CensusSummary,
    labels: Option<LabelSummary>,
}

/// Takes the census that the flags ask for, or shows a feature of an earlier one.
///
/// # Errors
/// A [`CliError`] if the model, a dictionary, the corpus or the folder cannot be used, or a signal came.
pub fn features(arguments: &FeaturesArguments, quiet: bool) -> Result<u8, CliError> {
    if let Some(name) = &arguments.show {
        return show_feature(&arguments.paths, name, arguments.json);
    }
    let (Some((model, dictionaries)), Some(out)) = (arguments.paths.split_first(), &arguments.out) else {
        return Err(CliError::usage_with_hint(
            "a model, dictionaries and --out are needed",
            "glassbox features MODEL DICT --corpus text.jsonl --out features, or glassbox features DIR --show L3-120",
        ));
    };
    if dictionaries.is_empty() {
        return Err(CliError::usage_with_hint(
            "no dictionary was given",
            "name one or more dictionaries, or folders of them, after the model",
        ));
    }
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(quiet, interrupt.flag());
    let model_name = model.display().to_string();
    let model = NamedModel::open(&model_name, arguments.weights)?;
    let endpoint = endpoint(arguments)?;
    let dictionaries = open_dictionaries(dictionaries, Some(&model))?;
    let settings = settings(arguments);
    settings.check()?;
    let read = [model.folder.as_path()]
        .into_iter()
        .chain(arguments.paths[1..].iter().map(PathBuf::as_path));
    refuse_input_as_output(out, &read.collect::<Vec<_>>())?;
    refuse_other_content(out)?;
    let options = arguments.corpus.rows(recorded_rows(&dictionaries).0);
    let mut source = arguments.corpus.open(&model, &options, None)?;
    if let Some(endpoint) = &endpoint {
        // Before hours of census, not after them.
        endpoint
            .reach()
            .map_err(LabelError::Unusable)
            .map_err(CliError::Label)?;
    }
    let _lock = FolderLock::take(out).map_err(one_census)?;
    for dictionary in &dictionaries {
        let folder = out.join(&dictionary.name);
        fs::create_dir_all(&folder).map_err(|cause| CliError::write(&folder, cause))?;
    }
    let texts = TokenTexts::new(model.tokenizer()?, model.model.config().vocab_size)?;
    let loaded: Vec<Arc<_>> = dictionaries
        .iter()
        .map(|dictionary| Arc::clone(&dictionary.dictionary))
        .collect();
    let watch = StageWatch::begin(&progress, "census", "tokens", arguments.tokens);
    let rows = (source.until_tokens(arguments.tokens)).map(|row| row.map_err(CliError::from));
    let findings = run_census(&model.model, &loaded, rows, &settings, &watch).map_err(stopped)?;
    let tokens = findings.first().map_or(0, |found| found.tokens);
    watch.finish(format!(
        "{} tokens that count, {} dictionaries",
        count(tokens),
        loaded.len()
    ));
    let names = ReportNames {
        model: short_name(&model_name),
        corpus: arguments.corpus.describe(),
        neuronpedia: arguments.neuronpedia.clone(),
        context: source.options().context,
    };
    let mut printed = Vec::new();
    for (dictionary, mut findings) in dictionaries.iter().zip(findings) {
        let watch = StageWatch::begin(
            &progress,
            "report",
            "features",
            dictionary.dictionary.features() as u64,
        );
        let background = std::mem::take(&mut findings.background);
        let facts = ReportFacts {
            name: dictionary.name.clone(),
            model: names.model.clone(),
            corpus: names.corpus.clone(),
        };
        let mut report = report_features(&model.model, &dictionary.dictionary, findings, &settings, facts)?;
        let folder = out.join(&dictionary.name);
        watch.finish(format!("{}, in {}", dictionary.name, folder.display()));
        let origin = CensusOrigin {
            corpus: &arguments.corpus.corpus,
            rows: source.options(),
            settings: &settings,
        };
        let mut labels = None;
        if let Some(endpoint) = &endpoint {
            // Without labels first: what the census found is kept if the endpoint fails.
            write_census(&folder, &report, &texts, origin, None).map_err(one_census)?;
            let count = arguments.label_features;
            labels = Some(label(
                endpoint,
                &mut report,
                &background,
                &texts,
                &folder,
                count,
                arguments,
                &progress,
            )?);
        }
        write_census(&folder, &report, &texts, origin, labels).map_err(one_census)?;
        write_neuronpedia_batches(&folder, &report, &texts, &names)?;
        printed.push(Printed {
            name: report.name,
            site: report.site,
            folder,
            summary: report.summary,
            labels,
        });
    }
    if arguments.json {
        print_json(&printed)?;
    } else {
        print(&text(&printed))?;
    }
    Ok(exit_code::DONE)
}

struct ReportNames {
    model: String,
    corpus: String,
    neuronpedia: Option<String>,
    context: usize,
}

/// For a command that is simply run again.
fn one_census(error: impl Into<CliError>) -> CliError {
    match error.into() {
        CliError::Store(error) | CliError::Interpretation(InterpretationError::Store(error)) => {
            one_file(error)
        }
        other => other,
    }
}

fn stopped(error: CliError) -> CliError {
    match error {
        CliError::Interpretation(InterpretationError::Stopped { .. }) => CliError::Interrupted {
            what: "no report was written",
        },
        other => other,
    }
}

fn settings(arguments: &FeaturesArguments) -> CensusSettings {
    let defaults = CensusSettings::default();
    CensusSettings {
        context_before: arguments.context_before.unwrap_or(defaults.context_before),
        context_after: arguments.context_after.unwrap_or(defaults.context_after),
        top_contexts: arguments.top.unwrap_or(defaults.top_contexts),
        seed: arguments.seed,
        ..defaults
    }
}

/// The endpoint, where one is given. The key comes from an environment variable and is never shown.
fn endpoint(arguments: &FeaturesArguments) -> Result<Option<HttpEndpoint>, CliError> {
    let (Some(address), Some(model)) = (&arguments.endpoint, &arguments.label_model) else {
        return Ok(None);
    };
    let key = match &arguments.endpoint_key_variable {
        None => None,
        Some(variable) => Some(std::env::var(variable).map_err(|_| {
            CliError::usage_with_hint(
                format!("the environment variable `{variable}` is not set, or is no text"),
                "set it to the endpoint's key, or leave --endpoint-key-variable out",
            )
        })?),
    };
    let timeout = Duration::from_secs(arguments.endpoint_timeout);
    Ok(Some(HttpEndpoint::new(address, model, key, timeout)))
}

fn label(
    endpoint: &HttpEndpoint,
    report: &mut DictionaryReport,
    background: &[BackgroundContext],
    texts: &TokenTexts,
    folder: &Path,
    most: usize,
    arguments: &FeaturesArguments,
    progress: &Progress,
) -> Result<LabelSummary, CliError> {
    let mut features: Vec<&FeatureReport> = report
        .features
        .iter()
        .filter(|feature| feature.top_contexts.len() >= 2)
        .collect();
    // The most consistent first: they are the ones that are worth a label.
    features.sort_by(|one, other| {
        let score = |feature: &FeatureReport| feature.consistency.map_or(-1.0, |found| found.score);
        score(other)
            .total_cmp(&score(one))
            .then(one.feature.cmp(&other.feature))
    });
    features.truncate(most);
    let settings = LabelSettings {
        at_a_time: arguments.label_requests,
        seed: arguments.seed,
        ..LabelSettings::default()
    };
    let watch = StageWatch::begin(progress, "labels", "features", features.len() as u64);
    let path = folder.join("labels.jsonl");
    let labels = label_features(endpoint, &features, background, texts, &settings, &path, &watch).map_err(
        |error| match error {
            LabelError::Other(InterpretationError::Stopped { .. }) => CliError::Interrupted {
                what: "the labels so far are kept, the same command continues",
            },
            other => CliError::Label(other),
        },
    )?;
    watch.finish(format!("{} features of {}", labels.len(), report.name));
    let mean = |score: &dyn Fn(&glassbox_interpretation::labels::FeatureLabel) -> Option<f64>| {
        let found: Vec<f64> = labels.values().filter_map(score).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    let summary = LabelSummary {
        labelled: labels.values().filter(|label| label.label.is_some()).count(),
        mean_detection_accuracy: mean(&|label| label.detection.and_then(|score| score.accuracy)),
        mean_fuzzing_accuracy: mean(&|label| label.fuzzing.and_then(|score| score.accuracy)),
    };
    for feature in &mut report.features {
        feature.label = labels.get(&feature.feature).and_then(|label| label.label.clone());
    }
    Ok(summary)
}

fn write_neuronpedia_batches(
    folder: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
    names: &ReportNames,
) -> Result<(), CliError> {
    let Some(set) = &names.neuronpedia else {
        return Ok(());
    };
    let neuronpedia = NeuronpediaNames {
        model_id: names.model.clone(),
        sae_set: set.clone(),
        tokens_in_prompt: names.context,
    };
    let batches = folder.join("neuronpedia");
    write_neuronpedia(&Storage::new(), &batches, report, texts, &neuronpedia)?;
    tell(&format!("Neuronpedia batches are in {}", batches.display()));
    Ok(())
}

/// Refuses a folder with anything in it that is not an earlier census: folders with a `census.json`, or with nothing yet.
fn refuse_other_content(out: &Path) -> Result<(), CliError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(CliError::write(out, cause)),
    };
    let is_census = |folder: &Path| {
        folder.join(CENSUS_FILE).is_file()
            || folder.join("labels.jsonl").is_file()
            || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
    };
    for entry in entries {
        let entry = entry.map_err(|cause| CliError::write(out, cause))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !FolderLock::is_lock_file(&name) && !is_census(&entry.path()) {
            return Err(CliError::usage_with_hint(
                format!("--out {} holds `{name}`, which is no census", out.display()),
                "choose a new folder, an empty one, or one with an earlier census, which is replaced",
            ));
        }
    }
    Ok(())
}

/// The last part of a model's name.
fn short_name(name: &str) -> String {
    name.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(name)
        .to_owned()
}

fn text(printed: &[Printed]) -> String {
    let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.1}", 100.0 * value));
    let labelled = printed.iter().any(|one| one.labels.is_some());
    let rows: Vec<Vec<String>> = printed
        .iter()
        .map(|one| {
            let summary = &one.summary;
            let mut row = vec![
                one.name.clone(),
                one.site.clone(),
                count(summary.features as u64),
                format!("{:.1}", summary.l0),
                format!("{:.1}", 100.0 * summary.dead as f64 / summary.features as f64),
                count(summary.dense as u64),
                share(summary.interpretable_share),
            ];
            if labelled {
                row.push(share(
                    one.labels.and_then(|labels| labels.mean_detection_accuracy),
                ));
                row.push(share(one.labels.and_then(|labels| labels.mean_fuzzing_accuracy)));
            }
            row
        })
        .collect();
    let mut headings = vec![
        "dictionary",
        "site",
        "features",
        "L0",
        "dead %",
        "dense",
        "interpretable %",
    ];
    if labelled {
        headings.extend(["detection %", "fuzzing %"]);
    }
    let mut text = table(&headings, &rows);
    if let Some(first) = printed.first() {
        text.push_str(&format!("{} tokens.\n", count(first.summary.tokens)));
    }
    for one in printed {
        text.push_str(&format!("Browse: {}\n", one.folder.join("index.html").display()));
    }
    text
}
