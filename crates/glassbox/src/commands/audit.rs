//! `audit`: what is in trial logs, and whether they support an analysis.

use glassbox_dictionary::{ActivationRule, DictionaryDescription, DictionarySet, formats};
use glassbox_log_effects::ParserCriterion;
use glassbox_logs::audit::{AuditReport, AuditSettings, DictionaryFacts, Echo, audit as run};
use glassbox_logs::{Logs, LogsError, OutcomeSource, parser_named, shipped_parser_file, shipped_parsers};
use glassbox_report::render_audit;
use regex::Regex;

use crate::arguments::AuditArguments;
use crate::audit_page::page;
use crate::error::CliError;
use crate::exit_code;
use crate::log_page::LogPage;
use crate::log_progress::LogProgress;
use crate::output::{print, print_json};
use crate::table::count;

/// Audits the logs that the flags name.
///
/// # Errors
/// A [`CliError`] if there are no logs, a parser or dictionary cannot be used, or the reading was stopped.
pub fn audit(arguments: &AuditArguments, quiet: bool) -> Result<u8, CliError> {
    if let Some(name) = &arguments.show_parser {
        let text = shipped_parser_file(name).ok_or_else(|| LogsError::UnknownParser {
            name: name.clone(),
            shipped: shipped_parsers().collect(),
        })?;
        print(text)?;
        return Ok(exit_code::DONE);
    }
    let settings = settings(arguments)?;
    let html = LogPage::new(arguments.html.as_deref(), &arguments.logs)?;
    let logs = Logs::find(&arguments.logs)?;
    let progress = LogProgress::begin(&logs, "audit", quiet)?;
    let report = run(
        &logs,
        &settings,
        &|analysis| ParserCriterion::of(analysis),
        &progress,
    )?;
    progress.finish(summary(&report));
    if let Some(html) = &html {
        html.write(|title| render_audit(&report, title))?;
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&page(&report))?;
    }
    Ok(if report.support.supported {
        exit_code::DONE
    } else {
        exit_code::CHECK_FAILED
    })
}

fn summary(report: &AuditReport) -> String {
    let rows = report.read.files.iter().map(|file| file.rows).sum();
    format!("{} rows of {} files", count(rows), report.read.files.len())
}

fn settings(arguments: &AuditArguments) -> Result<AuditSettings, CliError> {
    let echo = match &arguments.echo {
        Some(pattern) => Regex::new(pattern).map(Echo::expression),
        None => Echo::study(),
    };
    let echo = echo.map_err(|error| {
        CliError::usage_with_hint(
            format!("--echo: {error}"),
            "give an expression of Rust's regex crate",
        )
    })?;
    let compare = match &arguments.compare_parsers[..] {
        [] => None,
        [first, second] => Some([parser_named(first)?, parser_named(second)?]),
        other => {
            let what = format!("--compare-parsers takes two parsers, not {}", other.len());
            return Err(CliError::usage_with_hint(
                what,
                "write --compare-parsers scan,b-complete",
            ));
        }
    };
    Ok(AuditSettings {
        analysis: arguments.analysis,
        outcome: match &arguments.parser {
            Some(name) => OutcomeSource::Parsed(Box::new(parser_named(name)?)),
            None => OutcomeSource::Recorded,
        },
        planned_trials: arguments.planned_trials,
        fewest_trials: arguments.fewest_trials,
        dictionaries: dictionaries(arguments)?,
        compare,
        ..AuditSettings::new(echo)
    })
}

fn dictionaries(arguments: &AuditArguments) -> Result<Vec<DictionaryFacts>, CliError> {
    if let Some(features) = arguments.dictionary_features {
        return Ok(vec![DictionaryFacts {
            layer: None,
            features,
            model_width: arguments.model_width,
            is_non_negative: true,
            thresholds: Vec::new(),
        }]);
    }
    let Some(path) = &arguments.dictionary else {
        return Ok(Vec::new());
    };
    let members = formats::members(path);
    if members.is_empty() {
        let set = DictionarySet::open(path)?;
        return Ok(set
            .members()
            .map(|(_, member)| facts(&member.description))
            .collect());
    }
    members
        .iter()
        .map(|path| Ok(facts(formats::open(path)?.description())))
        .collect()
}

/// What an audit needs to know of a dictionary.
fn facts(description: &DictionaryDescription) -> DictionaryFacts {
    let thresholds = match &description.rule {
        ActivationRule::JumpRelu { threshold } => threshold.clone(),
        ActivationRule::Relu | ActivationRule::TopK { .. } | ActivationRule::GroupMax { .. } => Vec::new(),
    };
    DictionaryFacts {
        layer: description.site.layer(),
        features: description.features as u64,
        model_width: Some(description.width as u64),
        // Every rule ends with max(z, 0).
        is_non_negative: true,
        thresholds,
    }
}
