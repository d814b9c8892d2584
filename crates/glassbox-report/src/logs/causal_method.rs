//! What verdicts rest on: families, limits, the study's criterion and effects that files state.

use std::collections::BTreeMap;

use glassbox_log_effects::{CausalAnalysis, DirectionClass, StudyResult};

use super::body::{Body, Caption, legend_swatch};
use crate::ReportError;
use crate::data::FeatureId;
use crate::figures::stacked_bars::{Bar, stacked_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

pub(super) fn body(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    let limits = &analysis.limits;
    body.facts(&[
        ("q at most", limits.alpha.to_string()),
        (
            "smallest effect",
            format!(
                "{} points of a rate, d = {} of an amount: absence is claimed only where intervals exclude more",
                number::decimal(100.0 * limits.smallest_effect, 1),
                limits.smallest_d
            ),
        ),
        (
            "unknown outcomes",
            format!("at most {}", number::percent(limits.largest_unknown)),
        ),
        (
            "baselines",
            format!("{:?}", analysis.baseline).to_lowercase(),
        ),
    ]);
    if !analysis.families.is_empty() {
        body.heading("Families of tests");
        body.hint("Every test that was tried counts, those without information with p = 1.");
        body.markup(&families(analysis)?);
    }
    if !analysis.baseline_drift.is_empty() {
        body.heading("Do baselines differ among the features they were logged under?");
        body.markup(&drift(analysis)?);
    }
    Ok(body.finish())
}

fn families(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("comparison", "second vs first"),
        numbers("tests", "features × measures"),
        numbers("no information", ""),
        numbers("π₀", "Storey’s estimate of the share of true hypotheses, λ = ½"),
        numbers("smallest p", ""),
        numbers("smallest q", "Benjamini–Hochberg"),
    ];
    let rows = analysis.families.iter().map(|family| {
        vec![
            Cell::text(&super::unit::comparison_name(&family.name)),
            Cell::count(family.tests as u64),
            Cell::count(family.uninformative as u64),
            Cell::number(Some(family.pi0), |share| number::decimal(share, 2)),
            Cell::number(Some(family.smallest_p), number::p_value),
            Cell::number(Some(family.smallest_q), number::p_value),
        ]
    });
    let total = analysis.families.len() as u64;
    HtmlTable::new("families", heads, rows, total, "the output of --json").markup()
}

fn drift(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("measure", ""),
        numbers("baselines", "one per feature and prompt"),
        numbers("variance of z", "1 by chance"),
        numbers("p, more", "small if sessions differ"),
        numbers("p, less", "small if baselines repeat one another"),
    ];
    let rows = analysis.baseline_drift.iter().map(|own| {
        vec![
            Cell::text(&own.measure),
            Cell::count(own.baselines as u64),
            Cell::number(Some(own.variance_z), |variance| number::decimal(variance, 2)),
            Cell::number(Some(own.p_more), number::p_value),
            Cell::number(Some(own.p_less), number::p_value),
        ]
    });
    let total = analysis.baseline_drift.len() as u64;
    HtmlTable::new("baseline drift", heads, rows, total, "the output of --json").markup()
}

/// What the study's criterion says: not evidence, for it compares each value with the baseline.
pub(super) fn study(study: &StudyResult) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.paragraph(&format!(
        "{} of {} features are causal by the criterion, {} pass its stage of false discovery rates. It compares each value with the \
         baseline, so a shift that any intervention makes passes it: read it beside the value-against-value effects, not as evidence.",
        number::count(study.causal as u64),
        number::count(study.tested as u64),
        number::count(study.passing_fdr as u64)
    ));
    let mut layers: BTreeMap<u32, [u64; 3]> = BTreeMap::new();
    for found in study.findings.iter().filter(|found| found.is_causal) {
        let counts = layers.entry(found.feature.layer).or_default();
        match found.class {
            DirectionClass::Safe => counts[0] += 1,
            DirectionClass::Risky => counts[1] += 1,
            DirectionClass::Mixed | DirectionClass::CausalUnclear | DirectionClass::NonCausal => {
                counts[2] += 1
            }
        }
    }
    if layers.is_empty() {
        body.absent("No feature is causal by the criterion.");
    } else {
        let bars: Vec<Bar> = layers
            .iter()
            .map(|(layer, [safe, risky, other])| Bar {
                label: layer.to_string(),
                about: format!(
                    "layer {layer}: {safe} safe, {risky} risky, {other} in no direction (not drawn)"
                ),
                lower: *safe,
                upper: *risky,
            })
            .collect();
        let caption = Caption {
            title: "The study’s safe and risky features, by layer.",
            rest: "Its classes of directions; features that it calls causal in no direction are in the table.",
            legend: vec![legend_swatch("fill-a", "safe"), legend_swatch("light-b", "risky")],
        };
        let label = "Features that the study’s criterion calls safe and risky, by layer";
        body.figure(&caption, &stacked_bars(label, "layer", "features", &bars));
    }
    body.markup(&study_table(study)?);
    Ok(body.finish())
}

fn study_table(study: &StudyResult) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("feature", ""),
        texts("class", "the study’s class of directions"),
        numbers(
            "safe effect",
            "stop rate on the safe prompt, safe value minus baseline (points)",
        ),
        numbers(
            "p",
            "χ² with Yates’s correction; – where the criterion makes no test",
        ),
        numbers(
            "risky effect",
            "rate of high bets on the risky prompt, risky value minus baseline (points)",
        ),
        numbers("p", ""),
        numbers("q", "of the study’s stage of false discovery rates"),
    ];
    let mut causal: Vec<_> = study.findings.iter().filter(|found| found.is_causal).collect();
    let smaller = |p: Option<f64>, q: Option<f64>| p.unwrap_or(1.0).min(q.unwrap_or(1.0));
    causal.sort_by(|a, b| {
        smaller(a.safe_p, a.risky_p)
            .total_cmp(&smaller(b.safe_p, b.risky_p))
            .then_with(|| a.feature.cmp(&b.feature))
    });
    let total = causal.len() as u64;
    let rows = causal.into_iter().map(|found| {
        vec![
            Cell::feature(FeatureId {
                layer: found.feature.layer,
                feature: found.feature.feature,
            }),
            Cell::text(class_name(found.class)),
            Cell::number(found.safe_effect.map(|effect| 100.0 * effect), |effect| {
                number::signed(effect, 1)
            }),
            Cell::number(found.safe_p, number::p_value),
            Cell::number(found.risky_effect.map(|effect| 100.0 * effect), |effect| {
                number::signed(effect, 1)
            }),
            Cell::number(found.risky_p, number::p_value),
            Cell::number(found.fdr_q, number::p_value),
        ]
    });
    HtmlTable::new(
        "features by the study’s criterion",
        heads,
        rows,
        total,
        "the output of --json",
    )
    .markup()
}

fn class_name(class: DirectionClass) -> &'static str {
    match class {
        DirectionClass::Safe => "safe",
        DirectionClass::Risky => "risky",
        DirectionClass::Mixed => "mixed",
        DirectionClass::CausalUnclear => "causal, unclear",
        DirectionClass::NonCausal => "not causal",
    }
}

/// Effects that files state without counts: nothing can be tested, but both values can be compared.
pub(super) fn stated(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.paragraph(
        "Without counts nothing can be tested. If the value mattered, what the two values are said to do would differ; where their \
         correlation is high and what they share varies more than what they do not, the features’ effects are one shift.",
    );
    let heads = vec![
        texts("number", "as the file names it"),
        numbers("features", "with both numbers"),
        numbers("incomplete", "with one, or null"),
        numbers("mean A", ""),
        numbers("mean B", ""),
        numbers("correlation", "over features"),
        numbers("same sign", "share of features"),
        numbers("sd shared", "of half the sum"),
        numbers("sd specific", "of half the difference"),
    ];
    let rows = analysis.reported.iter().map(|delta| {
        vec![
            Cell::text(&delta.measure),
            Cell::count(delta.features as u64),
            Cell::count(delta.incomplete as u64),
            Cell::number(Some(delta.mean_a), |mean| number::signed(mean, 3)),
            Cell::number(Some(delta.mean_b), |mean| number::signed(mean, 3)),
            Cell::number(delta.correlation, |r| number::decimal(r, 2)),
            Cell::number(delta.same_sign, number::percent),
            Cell::number(Some(delta.shared_deviation), |sd| number::decimal(sd, 3)),
            Cell::number(Some(delta.specific_deviation), |sd| number::decimal(sd, 3)),
        ]
    });
    let total = analysis.reported.len() as u64;
    body.markup(&HtmlTable::new("stated effects", heads, rows, total, "the output of --json").markup()?);
    Ok(body.finish())
}
