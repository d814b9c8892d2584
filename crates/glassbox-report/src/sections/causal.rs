//! What each selected feature does to the outcome.

use askama::Template;
use glassbox_experiment::tables::VerdictRow;

use super::conditions::{condition_table, rates, six_conditions, with_unit};
use super::selection::absent;
use crate::ReportError;
use crate::data::{CausalData, Contrast, Effect, FeatureId, Measure, Names, Prompts, ReportData};
use crate::figures::dumbbell::{DumbbellRow, Rates, dumbbell};
use crate::figures::forest_plot::{Estimate, ForestPlot, ForestRow, Panel};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;
use crate::verdicts::Verdict;

/// Features in the figures; the table holds more.
const MOST_FEATURES: usize = 40;

#[derive(Template)]
#[template(path = "causal.html")]
struct Causal {
    names: Names,
    shown: usize,
    judged: usize,
    band: Option<f64>,
    controls: usize,
    forest: Markup,
    dose: Markup,
    verdicts: Markup,
    in_words: Markup,
    conditions: Option<Markup>,
    six: Markup,
    amounts: Option<Markup>,
    legend: Vec<LegendEntry>,
}

pub(super) struct LegendEntry {
    pub(super) drawing: Markup,
    pub(super) text: String,
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let (Some(verdicts), Some(causal)) = (&data.verdicts, &data.causal) else {
        return absent("causal");
    };
    let names = data.names();
    let percentile = data
        .scenario
        .as_ref()
        .map(|scenario| scenario.causal.control_percentile);
    let limit = |prompts| match percentile {
        Some(percentile) => causal.control_limit(prompts, percentile),
        None => Ok(None),
    };
    let mut largest: Vec<&VerdictRow> = verdicts.iter().collect();
    largest.sort_by(|one, other| {
        let size = |row: &VerdictRow| (Verdict::of(row) == Verdict::Specific, row.effect.abs());
        let (one_size, other_size) = (size(one), size(other));
        other_size
            .0
            .cmp(&one_size.0)
            .then(other_size.1.total_cmp(&one_size.1))
    });
    largest.truncate(MOST_FEATURES);
    largest.sort_by(|one, other| {
        other
            .effect
            .total_cmp(&one.effect)
            .then((one.layer, one.feature).cmp(&(other.layer, other.feature)))
    });
    let bands = [
        limit(Prompts::Both)?,
        limit(Prompts::FamilyA)?,
        limit(Prompts::FamilyB)?,
    ];
    let page = Causal {
        shown: largest.len(),
        judged: verdicts.len(),
        band: percentile.filter(|_| bands[0].is_some()),
        controls: causal.control_effects(Prompts::Both).len(),
        forest: forest(&largest, causal, bands, &names),
        dose: dose(&largest, causal, &names),
        verdicts: verdict_table(verdicts, names.reference_name())?,
        in_words: verdicts_in_words(verdicts)?,
        conditions: condition_table(data, &names)?,
        six: six_conditions(verdicts, causal, &names)?,
        amounts: amount_table(verdicts, causal, &names)?,
        legend: legend(),
        names,
    };
    Ok(Markup::assembled(page.render()?))
}

pub(super) fn feature_of(row: &VerdictRow) -> FeatureId {
    FeatureId {
        layer: row.layer,
        feature: row.feature,
    }
}

/// The marks of the verdicts with their meaning.
pub(super) fn legend() -> Vec<LegendEntry> {
    let entry = |verdict: Verdict, effect: f64, text: String| {
        let mut svg = crate::svg::Svg::new(16.0, 14.0, verdict.name());
        svg.marker(verdict.marker(), (8.0, 7.0), 4.4, verdict.class(effect));
        LegendEntry {
            drawing: svg.finish(),
            text,
        }
    };
    let mut entries = vec![
        entry(Verdict::Specific, 1.0, "specific effect, raises".to_owned()),
        entry(Verdict::Specific, -1.0, "specific effect, lowers".to_owned()),
    ];
    let others = Verdict::ALL
        .into_iter()
        .filter(|verdict| *verdict != Verdict::Specific);
    entries.extend(others.map(|verdict| entry(verdict, 0.0, verdict.name().to_owned())));
    entries
}

fn forest(rows: &[&VerdictRow], causal: &CausalData, bands: [Option<f64>; 3], names: &Names) -> Markup {
    let families = [Prompts::Both, Prompts::FamilyA, Prompts::FamilyB];
    let titles = [
        "both families".to_owned(),
        format!("{} prompts", names.family_a),
        format!("{} prompts", names.family_b),
    ];
    let panels =
        families
            .into_iter()
            .zip(titles)
            .zip(bands)
            .enumerate()
            .map(|(index, ((prompts, title), band))| Panel {
                title,
                width: if index == 0 { 300.0 } else { 150.0 },
                band: band.map(|band| band * 100.0),
                strip: causal
                    .control_effects(prompts)
                    .into_iter()
                    .map(|effect| effect * 100.0)
                    .collect(),
            });
    let forest_rows = rows.iter().map(|row| {
        let feature = feature_of(row);
        let verdict = Verdict::of(row);
        let of_family = |prompts| {
            let effect = causal.of_selected(feature, Contrast::BAgainstA, Measure::TargetRate, prompts)?;
            Some(Estimate {
                value: effect.effect? * 100.0,
                interval: effect.interval.map(|(low, high)| (low * 100.0, high * 100.0)),
            })
        };
        let both = Estimate {
            value: row.effect * 100.0,
            interval: Some((row.ci_low * 100.0, row.ci_high * 100.0)),
        };
        ForestRow {
            label: feature.to_string(),
            key: feature.to_string(),
            about: format!(
                "{feature}: {} points, 95 % interval {}, {}, {}",
                number::points(row.effect),
                number::points_interval(row.ci_low, row.ci_high),
                number::equation("q", row.q),
                verdict.name()
            ),
            estimates: vec![
                Some(both),
                of_family(Prompts::FamilyA),
                of_family(Prompts::FamilyB),
            ],
            marker: verdict.marker(),
            tone: verdict.tone(row.effect),
            filled: verdict.is_filled(),
            notes: vec![
                number::points(row.effect),
                number::points_interval(row.ci_low, row.ci_high),
                number::p_value(row.q),
                number::or_missing(row.control_percentile, number::percentile),
            ],
        }
    });
    let controls = causal.control_effects(Prompts::Both).len();
    ForestPlot {
        label: format!(
            "Effect of each feature on the {} rate, value B minus value A",
            names.target
        ),
        axis: format!(
            "change of the {} rate, value B minus value A (percentage points)",
            names.target
        ),
        symmetric: true,
        smallest: 5.0,
        panels: panels.collect(),
        strip_label: format!("{} controls", number::count(controls as u64)),
        note_heads: ["effect", "95 % interval", "q", "percentile"]
            .map(str::to_owned)
            .to_vec(),
        rows: forest_rows.collect(),
    }
    .draw()
}

fn dose(rows: &[&VerdictRow], causal: &CausalData, names: &Names) -> Markup {
    let titles = [
        format!("{} prompts", names.family_a),
        format!("{} prompts", names.family_b),
    ];
    let dose_rows: Vec<DumbbellRow> = rows
        .iter()
        .map(|row| {
            let feature = feature_of(row);
            let percent = |rates: Rates| Rates {
                reference: rates.reference.map(|rate| rate * 100.0),
                a: rates.a.map(|rate| rate * 100.0),
                b: rates.b.map(|rate| rate * 100.0),
            };
            let families =
                [Prompts::FamilyA, Prompts::FamilyB].map(|prompts| rates(causal, feature, prompts, names));
            let words = families.iter().zip(&titles).map(|(rates, title)| {
                let write = |rate| number::or_missing(rate, number::percent);
                format!(
                    "{title}: {} {}, A {}, B {}",
                    names.reference_name(),
                    write(rates.reference),
                    write(rates.a),
                    write(rates.b)
                )
            });
            DumbbellRow {
                label: feature.to_string(),
                key: feature.to_string(),
                about: format!("{feature}. {}", words.collect::<Vec<_>>().join("; ")),
                panels: families.into_iter().map(percent).collect(),
            }
        })
        .collect();
    let axis = format!("{} rate (percent of trials)", names.target);
    dumbbell(
        "Target rate at baseline and under both values, per family",
        &axis,
        &titles,
        &dose_rows,
    )
}

fn verdict_table(verdicts: &[VerdictRow], reference: &str) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("feature", "block and index in its dictionary"),
        texts("verdict", "see the legend above"),
        numbers(
            "effect",
            "target rate under value B minus under value A, both families, percentage points",
        ),
        numbers(
            "95 % interval",
            "Newcombe’s interval for paired proportions, percentage points",
        ),
        numbers("p", "exact McNemar test"),
        numbers("q", "Benjamini–Hochberg over all tests of selected features"),
        numbers("percentile", "of |effect| among the random-feature controls"),
        numbers(
            "shift A",
            format!("target rate under value A minus {reference}, percentage points"),
        ),
        numbers(
            "shift B",
            format!("target rate under value B minus {reference}, percentage points"),
        ),
        numbers(
            "shared q",
            "test of the mean of both shifts against zero, adjusted over the features",
        ),
        numbers(
            "detectable",
            "smallest |effect| that these pairs would have found with power 0.8, percentage points",
        ),
        numbers(
            "unknown",
            "share of trials under both values that the parser could not read",
        ),
        numbers(
            "effect if read",
            "effect among pairs in which both outcomes could be read, percentage points",
        ),
    ];
    let rows = by_size(verdicts).into_iter().map(|row| {
        vec![
            Cell::feature(feature_of(row)),
            Cell::line(Verdict::of(row).name()),
            Cell::number(Some(row.effect), number::points),
            Cell::figures(
                &number::points_interval(row.ci_low, row.ci_high),
                Some(row.ci_low),
            ),
            Cell::number(Some(row.p), number::p_value),
            Cell::number(Some(row.q), number::p_value),
            Cell::number(row.control_percentile, number::percentile),
            Cell::number(Some(row.shift_a), number::points),
            Cell::number(Some(row.shift_b), number::points),
            Cell::number(Some(row.shared_shift_q), number::p_value),
            Cell::number(row.detectable_effect, |effect| number::decimal(effect * 100.0, 1)),
            Cell::number(Some(row.unknown_share), number::percent),
            Cell::number(row.effect_known, number::points),
        ]
    });
    HtmlTable::new("verdicts", heads, rows, verdicts.len() as u64, "verdicts.parquet").markup()
}

fn verdicts_in_words(verdicts: &[VerdictRow]) -> Result<Markup, ReportError> {
    let heads = vec![texts("feature", ""), texts("verdict", ""), texts("in words", "")];
    let rows = by_size(verdicts).into_iter().map(|row| {
        vec![
            Cell::feature(feature_of(row)),
            Cell::line(Verdict::of(row).name()),
            Cell::sentences(&row.words),
        ]
    });
    HtmlTable::new(
        "verdicts in words",
        heads,
        rows,
        verdicts.len() as u64,
        "verdicts.parquet",
    )
    .markup()
}

/// The verdicts by falling size of their effects.
fn by_size(verdicts: &[VerdictRow]) -> Vec<&VerdictRow> {
    let mut sorted: Vec<&VerdictRow> = verdicts.iter().collect();
    sorted.sort_by(|one, other| other.effect.abs().total_cmp(&one.effect.abs()));
    sorted
}

/// Amounts under both values, where the parser captures amounts.
fn amount_table(
    verdicts: &[VerdictRow],
    causal: &CausalData,
    names: &Names,
) -> Result<Option<Markup>, ReportError> {
    let found: Vec<(FeatureId, &Effect)> = verdicts
        .iter()
        .map(feature_of)
        .filter_map(|feature| {
            let effect = causal.of_selected(feature, Contrast::BAgainstA, Measure::Amount, Prompts::Both)?;
            Some((feature, effect))
        })
        .collect();
    if found.is_empty() {
        return Ok(None);
    }
    let heads = vec![
        texts("feature", ""),
        numbers("pairs", "pairs in which both trials have an amount"),
        numbers(with_unit("mean A", names), "under value A"),
        numbers(with_unit("mean B", names), "under value B"),
        numbers(with_unit("difference", names), "B minus A"),
        numbers("95 % interval", "paired t over prompts"),
        numbers("Cohen’s d", "of the two groups of amounts, pooled, ddof 1"),
        numbers("p", "paired t test over prompts"),
        numbers("q", "Benjamini–Hochberg over all tests of selected features"),
    ];
    let total = found.len() as u64;
    let rows = found.into_iter().map(|(feature, effect)| {
        let interval = effect.interval.map_or_else(
            || number::MISSING.to_owned(),
            |(low, high)| format!("[{}, {}]", number::signed(low, 1), number::signed(high, 1)),
        );
        vec![
            Cell::feature(feature),
            Cell::count(u64::from(effect.n_1)),
            Cell::number(effect.figure_1, |mean| number::decimal(mean, 1)),
            Cell::number(effect.figure_2, |mean| number::decimal(mean, 1)),
            Cell::number(effect.effect, |effect| number::signed(effect, 1)),
            Cell::figures(&interval, effect.interval.map(|interval| interval.0)),
            Cell::number(effect.cohen_d, |d| number::signed(d, 2)),
            Cell::number(effect.p, number::p_value),
            Cell::number(effect.q, number::p_value),
        ]
    });
    HtmlTable::new("amounts", heads, rows, total, "causal.parquet")
        .markup()
        .map(Some)
}
