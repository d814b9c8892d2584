//! `causal`: which features change the outcome, from logs alone.

use std::path::Path;

use glassbox_log_effects::{
    CausalAnalysis, Cells, LogDoseRow, LogEffectRow, MeasureResult, Question, Spread, StudyResult, Verdict,
    analyse,
};
use glassbox_report::render_causal;
use glassbox_store::{Row, Storage, StoreError, write_table};

use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::log_arguments::CausalArguments;
use crate::log_page::LogPage;
use crate::log_progress::LogProgress;
use crate::output::{print, print_json};
use crate::table::{count, cut, facts, table};

/// Reads logs, analyses them and prints what they say.
///
/// # Errors
/// A [`CliError`] if the logs cannot be read, hold nothing to analyse, or a signal came.
pub fn causal(arguments: &CausalArguments, quiet: bool) -> Result<u8, CliError> {
    let settings = arguments.settings()?;
    let html = LogPage::new(arguments.html.as_deref(), &arguments.input.paths)?;
    let logs = arguments.input.logs()?;
    let parser = arguments.input.parser()?;
    let watch = LogProgress::begin(&logs, "causal", quiet)?;
    let cells = Cells::read(&logs, arguments.input.count_settings(parser.as_ref()), &watch)?;
    let analysis = analyse(&cells, &settings)?;
    watch.finish(format!(
        "{} trials of {} features in {} cells",
        count(analysis.trials),
        count(analysis.features as u64),
        count(cells.tallies.len() as u64)
    ));
    if let Some(folder) = &arguments.out {
        write(folder, &analysis)?;
    }
    if let Some(html) = &html {
        html.write(|title| render_causal(&analysis, title))?;
    }
    if arguments.json {
        print_json(&analysis)?;
    } else {
        print(&page(&analysis, arguments.top))?;
    }
    Ok(match analysis.verdict {
        Verdict::CannotTell => exit_code::CHECK_FAILED,
        _ => exit_code::DONE,
    })
}

fn write(folder: &Path, analysis: &CausalAnalysis) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|cause| CliError::write(folder, cause))?;
    let table = |name: &str| folder.join(name);
    put(&table("effects.parquet"), &analysis.effects).map_err(one_file)?;
    put(&table("doses.parquet"), &analysis.doses).map_err(one_file)
}

fn put<R: Row>(path: &Path, rows: &[R]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    write_table(&Storage::new(), path, rows).map(|_| ())
}

/// One page of text.
fn page(analysis: &CausalAnalysis, top: usize) -> String {
    let mut text = format!("{}: {}\n\n", analysis.verdict.name(), analysis.words);
    let mut known = vec![
        ("features", count(analysis.features as u64)),
        ("trials", trials(analysis)),
        ("outcomes", outcomes(analysis)),
    ];
    if let Some(reference) = analysis.reference {
        known.push(("compared with", reference.to_owned()));
    }
    text.push_str(&facts(&known));
    for caution in &analysis.cautions {
        text.push_str(&format!("caution: {caution}\n"));
    }
    if !analysis.measures.is_empty() {
        text.push('\n');
        text.push_str(&measures(&analysis.measures));
    }
    for result in &analysis.measures {
        text.push_str(&most_distinct(analysis, result, top));
    }
    if !analysis.reported.is_empty() {
        text.push_str("\nEffects stated without counts, value A and value B\n");
        text.push_str(&reported(analysis));
    }
    if let Some(study) = &analysis.study {
        text.push_str(&study_text(study, top));
    }
    text
}

fn trials(analysis: &CausalAnalysis) -> String {
    let mut text = count(analysis.trials);
    if analysis.counted_cells > 0 {
        text.push_str(&format!(", {} cells came counted", count(analysis.counted_cells)));
    }
    if analysis.unusable_rows > 0 {
        text.push_str(&format!(
            "; {} rows cannot be used",
            count(analysis.unusable_rows)
        ));
    }
    text
}

fn outcomes(analysis: &CausalAnalysis) -> String {
    match &analysis.outcomes.hash {
        Some(hash) => format!("parser {} ({hash})", analysis.outcomes.name),
        None if analysis.counted_cells > 0 => "as counted".to_owned(),
        None => "as recorded".to_owned(),
    }
}

/// One line per measure.
fn measures(results: &[MeasureResult]) -> String {
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let spread = |of: &dyn Fn(&Spread) -> String| result.spread.as_ref().map_or("–".to_owned(), of);
            let unit = unit_of(&result.measure);
            vec![
                result.measure.clone(),
                match result.question {
                    Question::Values => "B vs A",
                    Question::Doses => "doses",
                }
                .to_owned(),
                result.verdict.name().to_owned(),
                format!("{}/{}", result.found.len(), result.features),
                spread(&|s| amount(s.mean_effect, unit)),
                spread(&|s| format!("{:.2}", s.variance_z)),
                spread(&|s| format!("{:.2}–{:.2}", s.variance_low, s.variance_high)),
                result
                    .shared
                    .as_ref()
                    .map_or("–".to_owned(), |shared| amount(shared.mean_effect, unit)),
                result.detectable.map_or("–".to_owned(), |d| amount(d, unit)),
            ]
        })
        .collect();
    let headings = [
        "outcome",
        "contrast",
        "verdict",
        "q≤α",
        "mean",
        "var z",
        "95 %",
        "shared",
        "80 % power",
    ];
    table(&headings, &rows)
}

/// Whether a measure's effects are shown in percentage points.
fn unit_of(measure: &str) -> f64 {
    if measure == "amount" { 1.0 } else { 100.0 }
}

fn amount(effect: f64, unit: f64) -> String {
    format!("{:+.1}", effect * unit)
}

/// The features with the smallest p.
fn most_distinct(analysis: &CausalAnalysis, result: &MeasureResult, top: usize) -> String {
    let rows = match result.question {
        Question::Values => {
            let mut rows: Vec<&LogEffectRow> = analysis
                .effects
                .iter()
                .filter(|row| row.comparison == "value_b_vs_value_a" && row.measure == result.measure)
                .collect();
            rows.sort_by(|a, b| a.p.unwrap_or(2.0).total_cmp(&b.p.unwrap_or(2.0)));
            rows.into_iter()
                .take(top)
                .map(|row| {
                    let ends = (row.value_1, row.value_2);
                    let figures = (row.effect, row.ci_low, row.ci_high, row.p, row.q);
                    line(result, (row.layer, row.feature), row.n_1 + row.n_2, ends, figures)
                })
                .collect::<Vec<_>>()
        }
        Question::Doses => {
            let mut rows: Vec<&LogDoseRow> = analysis
                .doses
                .iter()
                .filter(|row| row.measure == result.measure)
                .collect();
            rows.sort_by(|a, b| a.p.unwrap_or(2.0).total_cmp(&b.p.unwrap_or(2.0)));
            rows.into_iter()
                .take(top)
                .map(|row| {
                    let ends = (row.value_lowest, row.value_highest);
                    let figures = (row.effect, row.ci_low, row.ci_high, row.p, row.q);
                    line(result, (row.layer, row.feature), row.n, ends, figures)
                })
                .collect()
        }
    };
    if rows.is_empty() {
        return String::new();
    }
    let (title, first, second) = match result.question {
        Question::Values => ("value B against value A", "A", "B"),
        Question::Doses => ("trend over doses", "lowest", "highest"),
    };
    let unit = if result.measure == "amount" {
        ""
    } else {
        ", in percent and points"
    };
    format!(
        "\n{}: {title}{unit}\n{}",
        result.measure,
        table(
            &["feature", "n", first, second, "effect", "95 %", "p", "q"],
            &rows
        )
    )
}

type RowFigures = (Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<f64>);

fn line(
    result: &MeasureResult,
    (layer, feature): (u32, u32),
    n: u64,
    (first, second): (Option<f64>, Option<f64>),
    (effect, low, high, p, q): RowFigures,
) -> Vec<String> {
    let unit = unit_of(&result.measure);
    let plain = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.1}", value * unit));
    let interval = match (low, high) {
        (Some(low), Some(high)) => format!("{:+.1} to {:+.1}", low * unit, high * unit),
        _ => "–".to_owned(),
    };
    let share = |p: Option<f64>| {
        p.map_or("–".to_owned(), |p| {
            if p < 0.001 {
                format!("{p:.1e}")
            } else {
                format!("{p:.3}")
            }
        })
    };
    vec![
        format!("L{layer}-{feature}"),
        n.to_string(),
        plain(first),
        plain(second),
        effect.map_or("–".to_owned(), |effect| amount(effect, unit)),
        interval,
        share(p),
        share(q),
    ]
}

fn reported(analysis: &CausalAnalysis) -> String {
    let rows: Vec<Vec<String>> = analysis
        .reported
        .iter()
        .map(|delta| {
            let optional = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
            vec![
                cut(&delta.measure, 24),
                count(delta.features as u64),
                format!("{:+.3}", delta.mean_a),
                format!("{:+.3}", delta.mean_b),
                optional(delta.correlation),
                optional(delta.same_sign),
                format!("{:.3}", delta.shared_deviation),
                format!("{:.3}", delta.specific_deviation),
            ]
        })
        .collect();
    let headings = [
        "number",
        "features",
        "mean A",
        "mean B",
        "correlation",
        "same sign",
        "sd shared",
        "sd specific",
    ];
    table(&headings, &rows)
}

fn study_text(study: &StudyResult, top: usize) -> String {
    let classes: Vec<String> = study
        .classes
        .iter()
        .map(|(class, features)| format!("{features} {}", format!("{class:?}").to_lowercase()))
        .collect();
    let mut text = format!(
        "\nThe study's own criterion (each value against the baseline): {} of {} features causal; {}; {} pass its stage of false \
         discovery rates\n",
        study.causal,
        study.tested,
        classes.join(", "),
        study.passing_fdr
    );
    let mut causal: Vec<_> = study.findings.iter().filter(|found| found.is_causal).collect();
    let smaller = |found: &&glassbox_log_effects::StudyFinding| {
        found.safe_p.unwrap_or(1.0).min(found.risky_p.unwrap_or(1.0))
    };
    causal.sort_by(|a, b| smaller(a).total_cmp(&smaller(b)));
    let rows: Vec<Vec<String>> = causal
        .into_iter()
        .take(top)
        .map(|found| {
            let effect =
                |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{:+.1}", 100.0 * v));
            let p = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.1e}"));
            vec![
                found.feature.to_string(),
                format!("{:?}", found.class).to_lowercase(),
                effect(found.safe_effect),
                p(found.safe_p),
                effect(found.risky_effect),
                p(found.risky_p),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let headings = ["feature", "class", "safe effect", "p", "risky effect", "p"];
        text.push_str(&table(&headings, &rows));
    }
    text
}
