//! What would make the findings wrong: every control's outcome, and the limits of the method.

use std::collections::BTreeMap;

use askama::Template;
use glassbox_experiment::Arm;
use glassbox_experiment::tables::CheckRow;
use glassbox_stats::{Confidence, Proportion, wilson_interval};

use super::causal::{LegendEntry, feature_of, legend};
use crate::ReportError;
use crate::data::{CausalData, Contrast, Names, Prompts, ReportData, Role, Tally, TrialData};
use crate::figures::Tone;
use crate::figures::forest_plot::{Estimate, ForestPlot, ForestRow, Panel};
use crate::figures::histogram::{Histogram, Marked};
use crate::figures::scatter::{Point, equality_scatter};
use crate::finding::spaced;
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;
use crate::svg::Marker;
use crate::verdicts::Verdict;

/// Features with a name in the scatter plot.
const MOST_NAMES: usize = 12;

#[derive(Template)]
#[template(path = "doubts.html")]
struct Doubts {
    names: Names,
    checks: Option<Vec<CheckView>>,
    facts: Markup,
    controls: Option<Markup>,
    p_values: Option<Markup>,
    shifts: Option<Markup>,
    shift_controls: usize,
    unknown: Option<Markup>,
    reconstruction: Option<Markup>,
    held_out: String,
    limits: Vec<(&'static str, String)>,
    legend: Vec<LegendEntry>,
}

struct CheckView {
    name: String,
    stage: String,
    passed: bool,
    figure: String,
    limit: String,
    words: String,
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let names = data.names();
    let causal = data.causal.as_ref();
    let page = Doubts {
        checks: data.checks.as_deref().map(check_views),
        facts: fact_table(data.checks.as_deref().unwrap_or_default())?,
        controls: match causal {
            Some(causal) => controls(data, causal)?,
            None => None,
        },
        p_values: causal.and_then(control_p_values),
        shifts: shifts(data, &names),
        shift_controls: data
            .trials
            .as_ref()
            .map_or(0, |trials| control_shifts(trials, &names).len()),
        unknown: match &data.trials {
            Some(trials) => unknown(trials)?,
            None => None,
        },
        reconstruction: causal.and_then(|causal| reconstruction(causal, &names)),
        held_out: held_out(data),
        limits: limits(data),
        legend: legend(),
        names,
    };
    Ok(Markup::assembled(page.render()?))
}

/// Checks with a result, failed ones first.
fn check_views(checks: &[CheckRow]) -> Vec<CheckView> {
    let mut decided: Vec<&CheckRow> = checks.iter().filter(|row| row.result != FACT).collect();
    decided.sort_by_key(|row| row.result != "failed");
    decided
        .into_iter()
        .map(|row| CheckView {
            name: spaced(&row.check),
            stage: row.stage.clone(),
            passed: row.result == "passed",
            figure: number::or_missing(row.figure, number::figure),
            limit: number::or_missing(row.limit, number::figure),
            words: row.words.clone(),
        })
        .collect()
}

const FACT: &str = "fact";

fn fact_table(checks: &[CheckRow]) -> Result<Markup, ReportError> {
    let facts: Vec<&CheckRow> = checks.iter().filter(|row| row.result == FACT).collect();
    let heads = vec![
        texts("fact", ""),
        texts("stage", ""),
        numbers("figure", "as stored; shares lie between 0 and 1"),
        texts("in words", ""),
    ];
    let rows = facts.iter().map(|row| {
        vec![
            Cell::line(&spaced(&row.check)),
            Cell::text(&row.stage),
            Cell::number(row.figure, number::figure),
            Cell::sentences(&row.words),
        ]
    });
    HtmlTable::new("facts", heads, rows, facts.len() as u64, "controls.parquet").markup()
}

/// |effect| of the controls with the features marked below.
fn controls(data: &ReportData, causal: &CausalData) -> Result<Option<Markup>, ReportError> {
    let values: Vec<f64> = causal
        .control_effects(Prompts::Both)
        .into_iter()
        .map(|effect| effect.abs() * 100.0)
        .collect();
    if values.is_empty() {
        return Ok(None);
    }
    let percentile = data
        .scenario
        .as_ref()
        .map(|scenario| scenario.causal.control_percentile);
    let limit = match percentile {
        Some(percentile) => causal
            .control_limit(Prompts::Both, percentile)?
            .map(|limit| (limit * 100.0, percentile)),
        None => None,
    };
    let marked = data.verdicts.iter().flatten().map(|row| {
        let verdict = Verdict::of(row);
        Marked {
            value: row.effect.abs() * 100.0,
            key: feature_of(row).to_string(),
            about: format!(
                "{}: {} points, percentile {}",
                feature_of(row),
                number::points(row.effect),
                number::or_missing(row.control_percentile, number::percentile)
            ),
            marker: verdict.marker(),
            class: verdict.class(row.effect),
        }
    });
    let histogram = Histogram {
        label: "Sizes of the random-feature controls’ effects, with the selected features".to_owned(),
        x_title: "|effect|, value B against A (percentage points)".to_owned(),
        y_title: "controls".to_owned(),
        values,
        end: None,
        bins: 24,
        limit: limit.map(|(limit, percentile)| {
            (
                limit,
                format!(
                    "percentile {}: {} points",
                    number::decimal(percentile, 0),
                    number::decimal(limit, 1)
                ),
            )
        }),
        expected: None,
        marked: marked.collect(),
        marked_label: "features".to_owned(),
    };
    Ok(Some(histogram.draw()))
}

/// p values of the controls against the flat line of a null hypothesis.
fn control_p_values(causal: &CausalData) -> Option<Markup> {
    let values: Vec<f64> = causal
        .of_role(Role::Control, Contrast::BAgainstA, Prompts::Both)
        .filter_map(|(_, effect)| effect.p)
        .collect();
    if values.is_empty() {
        return None;
    }
    let bins = 20;
    let expected = values.len() as f64 / bins as f64;
    let histogram = Histogram {
        label: "p values of the random-feature controls".to_owned(),
        x_title: "p (exact McNemar)".to_owned(),
        y_title: "controls".to_owned(),
        values,
        end: Some(1.0),
        bins,
        limit: None,
        expected: Some(expected),
        marked: Vec::new(),
        marked_label: String::new(),
    };
    Some(histogram.draw())
}

/// Shift under value A against shift under value B: on the diagonal the value does not matter.
fn shifts(data: &ReportData, names: &Names) -> Option<Markup> {
    let verdicts = data.verdicts.as_deref().filter(|verdicts| !verdicts.is_empty())?;
    let reference = data
        .trials
        .as_ref()
        .map_or_else(Vec::new, |trials| control_shifts(trials, names));
    let mut specific: Vec<f64> = verdicts
        .iter()
        .filter(|row| Verdict::of(row) == Verdict::Specific)
        .map(|row| row.effect.abs())
        .collect();
    specific.sort_by(|one, other| other.total_cmp(one));
    let least = specific.get(MOST_NAMES.saturating_sub(1)).copied().unwrap_or(0.0);
    let points: Vec<Point> = verdicts
        .iter()
        .map(|row| {
            let verdict = Verdict::of(row);
            let feature = feature_of(row);
            Point {
                x: row.shift_a * 100.0,
                y: row.shift_b * 100.0,
                key: feature.to_string(),
                about: format!(
                    "{feature}: A {} points, B {} points against {}; {}",
                    number::points(row.shift_a),
                    number::points(row.shift_b),
                    names.reference_name(),
                    verdict.name()
                ),
                name: if verdict == Verdict::Specific && row.effect.abs() >= least {
                    feature.to_string()
                } else {
                    String::new()
                },
                marker: verdict.marker(),
                class: verdict.class(row.effect),
            }
        })
        .collect();
    Some(equality_scatter(
        "Shift against the reference under value A and under value B",
        &format!("shift of the {} rate under value A (points)", names.target),
        "shift under value B (points)",
        "equal shifts",
        &reference,
        &points,
    ))
}

/// Shifts of the controls against the reference, from the counts: every control has the trials that the reference has.
fn control_shifts(trials: &TrialData, names: &Names) -> Vec<(f64, f64)> {
    let rate = |arm: Arm, layer: Option<u32>, feature: Option<u32>| {
        trials
            .by_treatment
            .get(&(arm, layer, feature))?
            .share(&names.target)
    };
    trials
        .by_treatment
        .keys()
        .filter(|(arm, _, _)| *arm == Arm::ControlA)
        .filter_map(|(_, layer, feature)| {
            let reference = match names.reference {
                Arm::ReconstructOnly => rate(Arm::ReconstructOnly, *layer, None)?,
                arm => rate(arm, None, None)?,
            };
            let a = rate(Arm::ControlA, *layer, *feature)?;
            let b = rate(Arm::ControlB, *layer, *feature)?;
            Some(((a - reference) * 100.0, (b - reference) * 100.0))
        })
        .collect()
}

/// Share of trials that the parser could not read, by arm and family.
fn unknown(trials: &TrialData) -> Result<Option<Markup>, ReportError> {
    let confidence = Confidence::new(0.95).map_err(statistics)?;
    let mut rows = Vec::new();
    let mut by_arm: BTreeMap<(Arm, &str), &Tally> = BTreeMap::new();
    for ((family, arm), tally) in &trials.by_condition {
        by_arm.insert((*arm, family.as_str()), tally);
    }
    for ((arm, family), tally) in by_arm {
        let proportion = Proportion::new(tally.unknown(), tally.trials).map_err(statistics)?;
        let Ok(interval) = wilson_interval(&proportion, confidence) else {
            continue;
        };
        let share = tally.unknown() as f64 / tally.trials as f64;
        rows.push(ForestRow {
            label: format!("{} · {family}", arm.name().replace('_', " ")),
            key: String::new(),
            about: format!(
                "{}, {family} prompts: {} of {} trials",
                arm.name(),
                tally.unknown(),
                tally.trials
            ),
            estimates: vec![Some(Estimate {
                value: share * 100.0,
                interval: Some((interval.lower * 100.0, interval.upper * 100.0)),
            })],
            marker: Marker::Circle,
            tone: Tone::Neutral,
            filled: true,
            notes: vec![format!(
                "{} of {}",
                number::count(tally.unknown()),
                number::count(tally.trials)
            )],
        });
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let plot = ForestPlot {
        label: "Share of trials without a readable outcome, by arm and family".to_owned(),
        axis: "unknown outcomes (percent of trials)".to_owned(),
        symmetric: false,
        smallest: 2.0,
        panels: vec![Panel {
            title: String::new(),
            width: 190.0,
            band: None,
            strip: Vec::new(),
        }],
        strip_label: String::new(),
        note_heads: vec!["trials".to_owned()],
        rows,
    };
    Ok(Some(plot.draw()))
}

fn statistics(cause: glassbox_stats::StatsError) -> ReportError {
    ReportError::Statistics {
        table: "trials",
        cause,
    }
}

/// What reading through the dictionary does by itself, per layer.
fn reconstruction(causal: &CausalData, names: &Names) -> Option<Markup> {
    let rows: Vec<ForestRow> = causal
        .of_role(
            Role::Reconstruction,
            Contrast::ReconstructionAgainstBaseline,
            Prompts::Both,
        )
        .filter_map(|(key, effect)| {
            let value = effect.effect?;
            let interval = effect.interval;
            Some(ForestRow {
                label: format!("layer {}", key.layer),
                key: String::new(),
                about: format!(
                    "layer {}: {} points against baseline",
                    key.layer,
                    number::points(value)
                ),
                estimates: vec![Some(Estimate {
                    value: value * 100.0,
                    interval: interval.map(|(low, high)| (low * 100.0, high * 100.0)),
                })],
                marker: Marker::Circle,
                tone: Tone::Neutral,
                filled: true,
                notes: vec![
                    number::points(value),
                    interval.map_or_else(String::new, |(low, high)| number::points_interval(low, high)),
                ],
            })
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let plot = ForestPlot {
        label: "Effect of replacing the residual by its reconstruction, by layer".to_owned(),
        axis: format!("change of the {} rate (percentage points)", names.target),
        symmetric: true,
        smallest: 5.0,
        panels: vec![Panel {
            title: String::new(),
            width: 190.0,
            band: None,
            strip: Vec::new(),
        }],
        strip_label: String::new(),
        note_heads: vec!["effect".to_owned(), "95 % interval".to_owned()],
        rows,
    };
    Some(plot.draw())
}

/// Whether the prompts that chose the features also measure them.
fn held_out(data: &ReportData) -> String {
    let check = data
        .checks
        .iter()
        .flatten()
        .find(|row| row.check == "held_out_prompts");
    if let Some(check) = check {
        return check.words.clone();
    }
    match &data.scenario {
        None => "The manifest holds no scenario, so it is not known whether effects were measured on prompts that took no part in the \
                 choice of features."
            .to_owned(),
        Some(scenario) if scenario.families.iter().any(|family| family.prompt.is_some()) => {
            "A single prompt per family both chose the features and measures their effects: effects are biased upwards and say nothing \
             about other prompts."
                .to_owned()
        }
        Some(_) => "The scenario names different prompt files for the choice of features and for their effects; whether they share texts \
                    is checked by the causal stage, which has not been run."
            .to_owned(),
    }
}

fn limits(data: &ReportData) -> Vec<(&'static str, String)> {
    let names = data.names();
    let unseen = data
        .verdicts
        .iter()
        .flatten()
        .filter(|row| Verdict::of(row) == Verdict::CannotTell)
        .count();
    let mut limits = vec![
        (
            "Replays mix two influences",
            "Patched generations choose other tokens, and other tokens activate other features. Pathway effects over generated tokens \
             hold both; only the effect at the prompt’s end is direct."
                .to_owned(),
        ),
        (
            "A feature’s mean is one dose",
            "Value A and value B are two points. Nothing here shows what lies between or beyond them, or that the effect grows with the value."
                .to_owned(),
        ),
        (
            "An effect belongs to these prompts",
            format!(
                "Rates are averages over the {} and {} prompts of this scenario; another wording is another experiment.",
                names.family_a, names.family_b
            ),
        ),
        (
            "The outcome is what the parser reads",
            format!(
                "Responses without a readable outcome count as not “{}”. An arm that breaks the form of the answer lowers the rate without \
                 changing the choice; the shares of unknown outcomes above show whether that happened.",
                names.target
            ),
        ),
        (
            "Features are the dictionary’s",
            "Another dictionary cuts the same directions otherwise. A specific effect says that moving the residual along this decoder \
             row changes the answer, not that the model computes with this feature."
                .to_owned(),
        ),
        (
            "Selection looks at the last prompt position",
            "Features that differ only earlier or only while the answer is written are not candidates.".to_owned(),
        ),
    ];
    if unseen > 0 {
        limits.push((
            "Not finding is not absence",
            format!(
                "For {} the trials cannot tell. The column “detectable” of the verdicts says how large an effect would have been found.",
                number::counted(unseen, "feature", "features")
            ),
        ));
    }
    limits
}
