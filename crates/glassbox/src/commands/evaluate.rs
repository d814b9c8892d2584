//! `evaluate`: what dictionaries are worth.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_corpus::{
    ActivationSource, ActivationStore, LegacyStates, RowOptions, Split, StoredActivations, StoredOrder,
    corpus_files,
};
use glassbox_interpretation::InterpretationError;
use glassbox_interpretation::evaluation::{
    Evaluation, EvaluationSettings, EvaluationSubject, Figure, evaluate as measure, evaluate_activations,
};
use glassbox_kernels::CpuBackend;
use glassbox_model::locate::HubEnvironment;
use glassbox_model::model_hash::model_hash;
use glassbox_model::site::Site;
use glassbox_store::{Storage, write_json};
use serde::Serialize;

use crate::arguments::EvaluateArguments;
use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::named_dictionaries::{open_dictionaries, recorded_rows};
use crate::named_model::NamedModel;
use crate::output::{
    print, print_json, refuse_input_as_output, refuse_other_kinds, refuse_special_files, tell,
};
use crate::progress::Progress;
use crate::table::{count, facts, table};
use crate::watching::StageWatch;

/// What is written and printed for machines.
#[derive(Serialize)]
struct Report<'a> {
    model: Option<&'a Path>,
    corpus: &'a [String],
    activations: Option<&'a Path>,
    states: Option<&'a Path>,
    rows: Option<&'a RowOptions>,
    documents: &'static str,
    tokens: u64,
    tokens_left_out: u64,
    dictionaries: &'a [Evaluation],
    missed: &'a [Missed],
}

/// A requirement that a dictionary misses.
#[derive(Serialize)]
struct Missed {
    dictionary: String,
    what: String,
}

/// Evaluates the dictionaries that the flags name.
///
/// # Errors
/// A [`CliError`] if the model, a dictionary or the corpus cannot be used, or a signal came.
pub fn evaluate(arguments: &EvaluateArguments, quiet: bool) -> Result<u8, CliError> {
    refuse_special_files(arguments.states.as_deref())?;
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(quiet, interrupt.flag());
    let (name, paths) = inputs(arguments)?;
    let model = match name {
        Some(name) => Some(NamedModel::open(&name.to_string_lossy(), arguments.weights)?),
        None => None,
    };
    let dictionaries = open_dictionaries(paths, model.as_ref())?;
    if let Some(out) = &arguments.out {
        refuse_other_kinds(out)?;
        let corpus = match arguments.corpus.corpus.is_empty() {
            true => Vec::new(),
            false => corpus_files(&arguments.corpus.source(), &HubEnvironment::of_process())?,
        };
        let read = (model.iter().map(|model| model.folder.as_path()))
            .chain(paths.iter().map(PathBuf::as_path))
            .chain(corpus.iter().map(|file| file.path.as_path()))
            .chain(arguments.activations.as_deref())
            .chain(arguments.states.as_deref());
        refuse_input_as_output(out, &read.collect::<Vec<_>>())?;
    }
    let (recorded, is_recorded) = recorded_rows(&dictionaries);
    // Where a dictionary records which documents it was trained on, it is judged on the others.
    let is_divided = is_recorded || arguments.states.is_some();
    let only = (is_divided && !arguments.all_documents).then_some(Split::HeldOut);
    let subjects: Vec<EvaluationSubject<CpuBackend>> = dictionaries
        .into_iter()
        .map(|dictionary| EvaluationSubject {
            name: dictionary.name,
            dictionary: dictionary.dictionary,
            at_training: dictionary.at_training,
        })
        .collect();
    let measured = match (&model, &arguments.activations, &arguments.states) {
        (Some(model), Some(folder), _) => stored(arguments, folder, model, &subjects, only, &progress),
        (Some(model), None, _) => in_model(arguments, recorded, model, &subjects, only, &progress),
        (None, _, Some(file)) => LegacyStates::open(file)
            .map_err(CliError::from)
            .and_then(|states| on_source(arguments, &mut states.only(only), &subjects, &progress)),
        (None, _, None) => Err(no_model()),
    };
    let Measured {
        evaluations,
        rows,
        kept,
        total,
    } = measured.map_err(|error| match error {
        CliError::Interpretation(InterpretationError::Stopped { .. }) => CliError::Interrupted {
            what: "no figure is complete",
        },
        other => other,
    })?;
    let mut missed = Vec::new();
    for evaluation in &evaluations {
        let found = arguments
            .require
            .iter()
            .flat_map(|require| require.missed(evaluation));
        missed.extend(found.map(|what| Missed {
            dictionary: evaluation.name.clone(),
            what,
        }));
    }
    let report = Report {
        model: name,
        corpus: &arguments.corpus.corpus,
        activations: arguments.activations.as_deref(),
        states: arguments.states.as_deref(),
        rows: rows.as_ref(),
        documents: if only.is_some() { "held out" } else { "all" },
        tokens: kept,
        tokens_left_out: total - kept,
        dictionaries: &evaluations,
        missed: &missed,
    };
    if let Some(out) = &arguments.out {
        write_json(&Storage::new(), out, &report).map_err(one_file)?;
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    for evaluation in evaluations.iter().filter(|e| e.distribution.out_of_distribution) {
        for reason in &evaluation.distribution.reasons {
            tell(&format!(
                "warning: {} is out of its distribution here: {reason}",
                evaluation.name
            ));
        }
    }
    for missed in &missed {
        tell(&format!("missed: {}: {}", missed.dictionary, missed.what));
    }
    Ok(if missed.is_empty() {
        exit_code::DONE
    } else {
        exit_code::CHECK_FAILED
    })
}

/// The model, where one is needed, and the dictionaries.
fn inputs(arguments: &EvaluateArguments) -> Result<(Option<&Path>, &[PathBuf]), CliError> {
    if arguments.states.is_some() {
        return Ok((None, &arguments.inputs));
    }
    match arguments.inputs.split_first() {
        Some((model, dictionaries)) if !dictionaries.is_empty() => Ok((Some(model), dictionaries)),
        _ => Err(no_model()),
    }
}

fn no_model() -> CliError {
    CliError::usage_with_hint(
        "a model and at least one dictionary are needed",
        "glassbox evaluate MODEL DICT --corpus text.jsonl; only with --states no model is named",
    )
}

/// What was measured, and on which tokens.
struct Measured {
    evaluations: Vec<Evaluation>,
    rows: Option<RowOptions>,
    kept: u64,
    total: u64,
}

fn settings(arguments: &EvaluateArguments) -> EvaluationSettings {
    EvaluationSettings {
        losses: !arguments.no_loss,
        seed: arguments.seed,
        ..EvaluationSettings::default()
    }
}

/// On a corpus, inside the model.
fn in_model(
    arguments: &EvaluateArguments,
    recorded: RowOptions,
    model: &NamedModel,
    subjects: &[EvaluationSubject<CpuBackend>],
    only: Option<Split>,
    progress: &Progress,
) -> Result<Measured, CliError> {
    let options = arguments.corpus.rows(recorded);
    let mut source = arguments.corpus.open(model, &options, only)?;
    let rows = source.read_until_kept(arguments.tokens)?;
    let total: u64 = rows.iter().map(|row| row.tokens.len() as u64).sum();
    let watch = StageWatch::begin(progress, "evaluate", "tokens", total);
    let evaluations = measure(&model.model, subjects, &rows, &settings(arguments), &watch)?;
    watch.finish(format!("{} tokens", count(total)));
    Ok(Measured {
        evaluations,
        rows: Some(source.options().clone()),
        kept: rows.iter().map(|row| row.kept() as u64).sum(),
        total,
    })
}

/// On activations that `extract` wrote, which must be the model's.
fn stored(
    arguments: &EvaluateArguments,
    folder: &Path,
    model: &NamedModel,
    subjects: &[EvaluationSubject<CpuBackend>],
    only: Option<Split>,
    progress: &Progress,
) -> Result<Measured, CliError> {
    let store = Arc::new(ActivationStore::open(folder)?);
    store.ensure_model(&model_hash(&model.folder)?)?;
    let mut sites: Vec<Site> = Vec::new();
    for subject in subjects {
        let description = subject.dictionary.description();
        for site in [description.site, description.output_site] {
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
    }
    let mut source = StoredActivations::new(store, &sites, only, StoredOrder::AsStored)?;
    on_source(arguments, &mut source, subjects, progress)
}

/// On activations that are there already, without a model.
fn on_source(
    arguments: &EvaluateArguments,
    source: &mut dyn ActivationSource,
    subjects: &[EvaluationSubject<CpuBackend>],
    progress: &Progress,
) -> Result<Measured, CliError> {
    let total = source.tokens_per_pass().unwrap_or(u64::MAX).min(arguments.tokens);
    let watch = StageWatch::begin(progress, "evaluate", "tokens", total);
    let evaluations = evaluate_activations(source, subjects, arguments.tokens, &settings(arguments), &watch)?;
    let kept = evaluations
        .first()
        .map_or(0, |evaluation| evaluation.reconstruction.tokens);
    watch.finish(format!("{} tokens", count(kept)));
    Ok(Measured {
        evaluations,
        rows: source.origin().rows,
        kept,
        total: kept,
    })
}

fn text(report: &Report<'_>) -> String {
    let mut text = match report.dictionaries {
        [evaluation] => single(evaluation),
        several => overview(several),
    };
    let left_out = match report.activations {
        None => format!(
            ", {} left out (position 0 and BOS)",
            count(report.tokens_left_out)
        ),
        Some(folder) => format!(", from {}", folder.display()),
    };
    text.push_str(&format!(
        "{} tokens of {} {}{left_out}.\n",
        count(report.tokens),
        count(
            report
                .dictionaries
                .first()
                .map_or(0, |evaluation| evaluation.documents)
        ),
        if report.documents == "all" {
            "documents"
        } else {
            "held-out documents"
        }
    ));
    text
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.4}"))
}

fn with_interval(figure: Option<Figure>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(Figure {
            estimate,
            low: Some(low),
            high: Some(high),
        }) => format!("{estimate:.4} [{low:.4}, {high:.4}]"),
        Some(figure) => format!("{:.4}", figure.estimate),
    }
}

/// One dictionary, all figures.
fn single(evaluation: &Evaluation) -> String {
    let (reconstruction, sparsity) = (&evaluation.reconstruction, &evaluation.sparsity);
    let quantiles = &sparsity.l0_quantiles;
    let mut lines = vec![
        ("dictionary", evaluation.name.clone()),
        (
            "site",
            if evaluation.site == evaluation.output_site {
                evaluation.site.to_string()
            } else {
                format!("reads {}, writes {}", evaluation.site, evaluation.output_site)
            },
        ),
        ("explained variance", with_interval(evaluation.explained_variance)),
        (
            "  unexplained (FVU)",
            number(reconstruction.fraction_of_variance_unexplained),
        ),
        (
            "  mean of dimensions",
            number(reconstruction.explained_variance_mean_of_dimensions),
        ),
        (
            "  SAELens, legacy",
            number(reconstruction.explained_variance_saelens_legacy),
        ),
        (
            "mean squared error",
            format!("{:.4e}", reconstruction.mean_squared_error),
        ),
        ("cosine", number(reconstruction.cosine)),
        (
            "norm ratio, bias",
            format!(
                "{:.4}, {}",
                reconstruction.norm_ratio,
                number(reconstruction.relative_reconstruction_bias)
            ),
        ),
        (
            "L0",
            format!(
                "{:.2} (median {}, 5 % to 95 %: {} to {}, largest {})",
                sparsity.l0, quantiles.p50, quantiles.p05, quantiles.p95, quantiles.maximum
            ),
        ),
        (
            "dead",
            format!(
                "{:.2} % ({} of {}) on {} tokens",
                100.0 * sparsity.dead_share,
                count(sparsity.dead_features as u64),
                count(sparsity.features as u64),
                count(sparsity.tokens)
            ),
        ),
        (
            "dense (over 10 %)",
            format!("{:.2} %", 100.0 * sparsity.dense_share),
        ),
    ];
    if let Some(loss) = &evaluation.loss {
        lines.extend([
            (
                "loss, nats",
                format!(
                    "clean {:.4}, spliced {:.4}, mean {:.4}, zero {:.4}",
                    loss.clean, loss.spliced, loss.mean_ablated, loss.zero_ablated
                ),
            ),
            ("  recovered, zero", with_interval(loss.recovered_against_zero)),
            ("  recovered, mean", with_interval(loss.recovered_against_mean)),
            ("  KL, nats", with_interval(Some(loss.divergence_spliced))),
        ]);
    }
    if let Some(first) = &evaluation.position_zero {
        lines.push((
            "position 0, apart",
            format!(
                "{} tokens, norm {:.2}, explained variance {}, L0 {:.1}",
                count(first.reconstruction.tokens),
                first.reconstruction.mean_norm,
                number(first.reconstruction.explained_variance),
                first.l0
            ),
        ));
    }
    facts(&lines)
}

/// Several dictionaries, the main figures.
fn overview(evaluations: &[Evaluation]) -> String {
    let rows: Vec<Vec<String>> = evaluations
        .iter()
        .map(|evaluation| {
            let loss = evaluation.loss.as_ref();
            let estimate = |figure: Option<Figure>| number(figure.map(|figure| figure.estimate));
            vec![
                evaluation.name.clone(),
                evaluation.site.to_string(),
                number(evaluation.reconstruction.explained_variance),
                number(evaluation.reconstruction.cosine),
                format!("{:.2}", evaluation.sparsity.l0),
                format!("{:.2}", 100.0 * evaluation.sparsity.dead_share),
                number(loss.map(|loss| loss.spliced - loss.clean)),
                estimate(loss.and_then(|loss| loss.recovered_against_zero)),
                estimate(loss.and_then(|loss| loss.recovered_against_mean)),
                number(loss.map(|loss| loss.divergence_spliced.estimate)),
                if evaluation.distribution.out_of_distribution {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
            ]
        })
        .collect();
    table(
        &[
            "dictionary",
            "site",
            "EV",
            "cosine",
            "L0",
            "dead %",
            "loss added",
            "rec. zero",
            "rec. mean",
            "KL",
            "odd input",
        ],
        &rows,
    )
}
