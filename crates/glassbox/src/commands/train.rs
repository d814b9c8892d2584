//! `train`: dictionaries from activations.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use glassbox_corpus::{ActivationSource, Split};
use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{
    DictionarySettings, Objective, Outcome, TrainSettings, Trainer, TrainerFiles, WrittenFormat,
};
use serde_json::json;

use crate::arguments::{ArchitectureArgument, TrainArguments, TrainFormatArgument};
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json, refuse_special_files, tell};
use crate::shell::resuming;
use crate::table::{count, table};
use crate::train_input::TrainInput;
use crate::train_progress::TrainProgress;

/// Trains, or continues to.
///
/// # Errors
/// A [`CliError`] if flags, settings, model, corpus or folder cannot be used.
pub fn train(arguments: &TrainArguments, quiet: bool) -> Result<u8, CliError> {
    train_dictionaries(arguments, quiet).map_err(|error| error.resumable_by(resuming()))
}

fn train_dictionaries(arguments: &TrainArguments, quiet: bool) -> Result<u8, CliError> {
    let read = arguments.states.iter().chain(&arguments.config);
    refuse_special_files(read.map(PathBuf::as_path))?;
    let interrupt = Interrupt::listen()?;
    let input = TrainInput::open(arguments)?;
    let settings = settings(arguments, &input)?;
    let sites = sites_of(&settings, &input)?;
    let files = TrainerFiles {
        folder: arguments.out.clone(),
        format: match arguments.format {
            TrainFormatArgument::Glassbox => WrittenFormat::Glassbox,
            TrainFormatArgument::Saelens => WrittenFormat::Saelens,
        },
        model: input.model_reference(),
    };
    let mut held_out = input.source(arguments, &sites, Split::HeldOut, settings.seed)?;
    let source = input.source(arguments, &sites, Split::Train, settings.seed)?;
    let outcome = run(
        arguments,
        settings,
        files,
        source,
        &mut held_out,
        &interrupt,
        quiet,
    )?;
    report(arguments, &outcome)
}

fn run(
    arguments: &TrainArguments,
    settings: TrainSettings,
    files: TrainerFiles,
    source: impl ActivationSource,
    held_out: &mut dyn ActivationSource,
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<Outcome, CliError> {
    let mut trainer = Trainer::new(&CpuBackend, source, held_out, settings, files, arguments.resume)?;
    let mut progress = TrainProgress::new(quiet);
    let outcome = trainer.run(&mut |step| {
        progress.show(step);
        !interrupt.came()
    });
    progress.end();
    Ok(outcome?)
}

/// From the settings file, or from the flags.
fn settings(arguments: &TrainArguments, input: &TrainInput) -> Result<TrainSettings, CliError> {
    let mut settings = match &arguments.config {
        Some(path) => from_file(path)?,
        None => TrainSettings {
            dictionaries: dictionaries(arguments, input)?,
            ..TrainSettings::default()
        },
    };
    if let Some(tokens) = arguments.tokens {
        settings.tokens = tokens;
    }
    settings.batch = arguments.batch.or(settings.batch);
    if let Some(shuffle) = arguments.shuffle {
        settings.shuffle = shuffle;
    }
    settings.check()?;
    Ok(settings)
}

fn from_file(path: &Path) -> Result<TrainSettings, CliError> {
    let text = fs::read_to_string(path)
        .map_err(|cause| CliError::usage(format!("cannot read {}: {cause}", path.display())))?;
    toml::from_str(&text)
        .map_err(|cause| CliError::usage(format!("{}: {}", path.display(), cause.to_string().trim_end())))
}

/// One dictionary for every site and seed.
fn dictionaries(arguments: &TrainArguments, input: &TrainInput) -> Result<Vec<DictionarySettings>, CliError> {
    let sites = input.select(arguments.sites.as_deref())?;
    let outputs = match &arguments.output_sites {
        None => vec![None; sites.len()],
        Some(list) => {
            let outputs = input.select(Some(list))?;
            if outputs.len() != sites.len() {
                return Err(CliError::usage(format!(
                    "--sites selects {} sites and --output-sites {}; a transcoder needs one of each",
                    sites.len(),
                    outputs.len()
                )));
            }
            outputs.into_iter().map(Some).collect()
        }
    };
    let objective = objective(arguments)?;
    let mut dictionaries = Vec::new();
    for (site, output) in sites.into_iter().zip(outputs) {
        for &seed in &arguments.seeds {
            let mut dictionary =
                DictionarySettings::new(site.to_string(), arguments.features, objective.clone());
            dictionary.output_site = output.map(|output| output.to_string());
            dictionary.skip = arguments.skip;
            dictionary.learning_rate = arguments.learning_rate;
            dictionary.seed = seed;
            dictionaries.push(dictionary);
        }
    }
    Ok(dictionaries)
}

fn objective(arguments: &TrainArguments) -> Result<Objective, CliError> {
    let needs = |flag: &str, example: &str| {
        let what = format!("this architecture needs {flag}");
        CliError::usage_with_hint(what, format!("{flag} {example} for example"))
    };
    let architecture = arguments.architecture;
    let takes = |flag: &str, given: bool, with: &[ArchitectureArgument]| {
        if !given || with.contains(&architecture) {
            return Ok(());
        }
        let names: Vec<String> = (with.iter().filter_map(ValueEnum::to_possible_value))
            .map(|value| value.get_name().to_owned())
            .collect();
        Err(CliError::usage(format!(
            "{flag} means nothing to this architecture; it belongs to {}",
            names.join(", ")
        )))
    };
    use ArchitectureArgument::{BatchTopk, Gated, Jumprelu, Matryoshka, Relu, Topk};
    takes("--k", arguments.k.is_some(), &[Topk, BatchTopk, Matryoshka])?;
    takes("--l1", arguments.l1.is_some(), &[Relu, Gated])?;
    takes("--l0", arguments.l0.is_some(), &[Jumprelu])?;
    let k = || arguments.k.ok_or_else(|| needs("--k", "50"));
    let l1 = || arguments.l1.ok_or_else(|| needs("--l1", "0.05"));
    Ok(match architecture {
        ArchitectureArgument::Relu => Objective::Relu { l1: l1()? },
        ArchitectureArgument::Gated => Objective::Gated { l1: l1()? },
        ArchitectureArgument::Topk => Objective::TopK { k: k()? },
        ArchitectureArgument::BatchTopk => Objective::BatchTopK { k: k()? },
        ArchitectureArgument::Matryoshka => Objective::matryoshka(k()?),
        ArchitectureArgument::Jumprelu => {
            Objective::jump_relu(arguments.l0.ok_or_else(|| needs("--l0", "50"))?)
        }
    })
}

/// Every site that the settings name, each once.
fn sites_of(settings: &TrainSettings, input: &TrainInput) -> Result<Vec<Site>, CliError> {
    let mut sites = Vec::new();
    for dictionary in &settings.dictionaries {
        for name in std::iter::once(&dictionary.site).chain(&dictionary.output_site) {
            let site = input.site(name)?;
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
    }
    Ok(sites)
}

fn report(arguments: &TrainArguments, outcome: &Outcome) -> Result<u8, CliError> {
    if arguments.json {
        let dictionaries: Vec<_> = (outcome.dictionaries.iter())
            .map(|dictionary| {
                json!({
                    "name": dictionary.name,
                    "folder": dictionary.folder,
                    "record": dictionary.record,
                    "failure": dictionary.failure,
                })
            })
            .collect();
        print_json(&json!({
            "finished": outcome.finished,
            "steps": outcome.step,
            "out": arguments.out,
            "dictionaries": dictionaries,
        }))?;
    } else {
        let rows: Vec<Vec<String>> = (outcome.dictionaries.iter())
            .filter_map(|dictionary| {
                let record = dictionary.record.as_ref()?;
                Some(vec![
                    dictionary.name.clone(),
                    format!("{:.4}", record.explained_variance),
                    format!("{:.1}", record.l0),
                    format!("{:.1}", 100.0 * record.dead_share),
                    format!("{:.1}", 100.0 * record.silent_share),
                    count(record.tokens),
                ])
            })
            .collect();
        let headings = [
            "dictionary",
            "explained variance",
            "L0",
            "dead %",
            "silent %",
            "tokens",
        ];
        if !rows.is_empty() {
            print(&table(&headings, &rows))?;
        }
        for dictionary in &outcome.dictionaries {
            if let Some(failure) = &dictionary.failure {
                tell(&format!("given up: {failure}"));
            }
        }
        if outcome.finished {
            print(&format!(
                "Written: {}\n",
                arguments.out.join("dictionaries").display()
            ))?;
        }
    }
    if !outcome.finished {
        tell(&format!(
            "stopped after {} steps; continue with: {}",
            outcome.step,
            resuming()
        ));
        return Ok(exit_code::PARTIAL);
    }
    let failed = outcome
        .dictionaries
        .iter()
        .any(|dictionary| dictionary.failure.is_some());
    Ok(if failed {
        exit_code::CHECK_FAILED
    } else {
        exit_code::DONE
    })
}
