//! `screen`: the first-order effect of every feature.

use std::path::{Path, PathBuf};
use std::time::Instant;

use glassbox_experiment::feature_name::parse_feature_name;
use glassbox_experiment::prompts::{Prompt, PromptSets};
use glassbox_experiment::readout::ScreenTarget;
use glassbox_experiment::screen::ScreenMode;
use glassbox_experiment::screen_stage::{ScreenFindings, ScreenSettings, screen as screen_prompts};
use glassbox_experiment::select::select;
use glassbox_experiment::session::Session;
use glassbox_experiment::tables::ScreenRow;
use glassbox_experiment::{ExperimentError, Scenario};
use glassbox_store::{Storage, StoreError, TableWriter};
use serde_json::json;

use crate::arguments::{ScreenArguments, ScreenModeArgument};
use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json, refuse_input_as_output, refuse_other_kinds};
use crate::progress::Progress;
use crate::table::{count, duration, table};

/// Screens the selection prompts of a scenario.
///
/// # Errors
/// A [`CliError`] if the scenario, the target or the file to write cannot be used, or a signal came.
pub fn screen(arguments: &ScreenArguments, quiet: bool) -> Result<u8, CliError> {
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(quiet, interrupt.flag());
    let mut scenario = Scenario::read(&arguments.config)?;
    if let Some(most) = arguments.prompts {
        scenario.select.max_prompts = scenario.select.max_prompts.min(most);
    }
    let (model, dictionaries) = (
        scenario.path(&scenario.model),
        scenario.path(&scenario.dictionaries),
    );
    let prompts: Vec<PathBuf> = scenario
        .families
        .iter()
        .flat_map(|family| family.select_prompts.iter().chain(&family.sweep_prompts))
        .map(|file| scenario.path(file))
        .collect();
    let mut inputs: Vec<&Path> = vec![&arguments.config, &model, &dictionaries];
    inputs.extend(prompts.iter().map(PathBuf::as_path));
    refuse_input_as_output(&arguments.out, &inputs)?;
    refuse_other_kinds(&arguments.out)?;
    let settings = ScreenSettings {
        target: target(&arguments.target, &scenario)?,
        mode: match arguments.mode {
            ScreenModeArgument::Values => ScreenMode::Values,
            ScreenModeArgument::Zero => ScreenMode::Zero,
        },
        steps: arguments.steps,
        checked: arguments.check,
    };
    let session = Session::load(&scenario)?;
    if let ScreenTarget::Feature { layer, feature } = settings.target {
        session.check_layer(layer)?;
        session.dictionary(layer)?.description().check_feature(feature)?;
    }
    let prompts = PromptSets::read(&scenario)?;
    prompts.check_lengths(&session)?;
    let since = Instant::now();
    let found =
        find(&session, &scenario, &prompts.select, &settings, &progress).map_err(|error| match error {
            ExperimentError::Interrupted { .. } => CliError::Stopped {
                path: arguments.out.clone(),
            },
            other => other.into(),
        })?;
    let seconds = since.elapsed().as_secs_f64();
    write(arguments, &found).map_err(one_file)?;
    let top: Vec<ScreenRow> = found.rows().take(arguments.top).collect();
    if arguments.json {
        print_json(&json!({
            "target": settings.target.name(),
            "mode": settings.mode.name(),
            "steps": settings.steps,
            "prompts": prompts.select.len(),
            "scalar": found.scalar,
            "features_screened": found.screened(),
            "features_with_an_effect": found.ranked(),
            "top": top,
            "trust": found.trust,
            "passes_forward": found.passes.forward,
            "passes_backward": found.passes.backward,
            "check_passes_forward": found.check_passes.forward,
            "check_passes_backward": found.check_passes.backward,
            "seconds": seconds,
            "out": arguments.out.display().to_string(),
        }))?;
    } else {
        print(&text(&settings, &found, prompts.select.len(), &top, seconds))?;
        print(&format!("Written: {}\n", arguments.out.display()))?;
    }
    Ok(exit_code::DONE)
}

fn target(name: &str, scenario: &Scenario) -> Result<ScreenTarget, CliError> {
    if name != "decision" {
        let (layer, feature) = parse_feature_name("screen", name)?;
        return Ok(ScreenTarget::Feature { layer, feature });
    }
    match &scenario.decision {
        Some(settings) => Ok(ScreenTarget::Decision {
            settings: settings.clone(),
            outcome: scenario.outcome.target.clone(),
        }),
        None => Err(CliError::usage_with_hint(
            "the scenario has no [decision] section, so that there is no decision to screen",
            "add one, or name a feature: --target L5-123",
        )),
    }
}

fn find(
    session: &Session,
    scenario: &Scenario,
    prompts: &[Prompt],
    settings: &ScreenSettings,
    progress: &Progress,
) -> Result<ScreenFindings, ExperimentError> {
    let families = [scenario.family_a(), scenario.family_b()];
    let selection = select(session, prompts, families, &scenario.select, progress)?;
    screen_prompts(session, scenario, prompts, &selection, settings, progress)
}

fn write(arguments: &ScreenArguments, found: &ScreenFindings) -> Result<(), StoreError> {
    let mut writer = TableWriter::create(&Storage::new(), &arguments.out)?;
    for row in found.rows() {
        writer.push(row)?;
    }
    writer.finish()?;
    Ok(())
}

fn text(
    settings: &ScreenSettings,
    found: &ScreenFindings,
    prompts: usize,
    top: &[ScreenRow],
    seconds: f64,
) -> String {
    let edit = match settings.mode {
        ScreenMode::Values => "set to value B, minus set to value A",
        ScreenMode::Zero => "set to zero, minus left alone",
    };
    let what = match &settings.target {
        ScreenTarget::Decision { settings, outcome } => {
            format!(
                "the log-odds of '{outcome}' against '{}' (nats)",
                settings.other(outcome)
            )
        }
        feature @ ScreenTarget::Feature { .. } => format!("the pre-activation of {}", feature.name()),
    };
    let mut text = format!(
        "First-order effect on {what}: {edit}. Its mean without intervention is {}.\n\n",
        found
            .scalar
            .map_or_else(|| "undefined".to_owned(), |mean| format!("{mean:.4}"))
    );
    let signed = |value: f64| format!("{value:+.5}");
    let lines: Vec<Vec<String>> = top
        .iter()
        .map(|row| {
            vec![
                row.rank.to_string(),
                format!("L{}-{}", row.layer, row.feature),
                signed(row.effect),
                row.standard_error
                    .map_or("–".to_owned(), |error| format!("{error:.5}")),
                row.exact_checked.map_or("–".to_owned(), signed),
            ]
        })
        .collect();
    text.push_str(&table(
        &["rank", "feature", "effect", "s.e.", "exact (some prompts)"],
        &lines,
    ));
    let (trust, passes, check) = (found.trust, found.passes, found.check_passes);
    let figure = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    text.push_str(&format!(
        "\nHow far it can be trusted, on {} prompts: rank correlation with the exact effect {} among the first {}, {} among {} \
         random features, {} over both; {} of the first have the exact effect's sign.\n",
        trust.prompts,
        figure(trust.top_correlation),
        trust.top,
        figure(trust.random_correlation),
        trust.random,
        figure(trust.correlation),
        figure(trust.top_same_sign),
    ));
    text.push_str(&format!(
        "{} of {} features have an effect, over {} prompts. Cost: {} passes forward and {} back, {} and {} for the comparison, {}.\n",
        count(found.ranked() as u64),
        count(found.screened() as u64),
        count(prompts as u64),
        count(passes.forward),
        count(passes.backward),
        count(check.forward),
        count(check.backward),
        duration(seconds),
    ));
    text
}
