//! The slot-machine study's own criterion, so that its numbers can be checked. It is not evidence: it compares each value with the
//! baseline, so a shift that any intervention makes passes it.

use std::collections::BTreeMap;
use std::str::FromStr;

use glassbox_logs::FeatureId;
use glassbox_stats::{Proportion, TwoByTwo, Yates, benjamini_hochberg, chi_square_test};
use serde::Serialize;

use crate::cell::serialize_feature;
use crate::feature_arms::{Arms, FeatureArms};
use crate::tally::Tally;
use crate::{EffectsError, Measure};

/// Fewest trials in each of the three conditions of a prompt.
const FEWEST_TRIALS: u64 = 10;
const ALPHA: f64 = 0.05;
/// Smallest difference of rates that counts.
const SMALLEST_EFFECT: f64 = 0.1;
/// Smallest difference that counts in the stage of false discovery rates.
const SMALLEST_FDR_EFFECT: f64 = 0.05;

/// Which version of the study's criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudyCriterion {
    /// Of the scan: bets above 15 on the risky prompt, χ² only where all four cells hold at least five trials.
    StudyScan,
    /// Of the later reading of the same responses: bets of at least 20, no check of the cells.
    StudyReparse,
}

impl StudyCriterion {
    /// What counts as an outcome on the risky prompt.
    fn risky_measure(self) -> Measure {
        match self {
            Self::StudyScan => Measure::BetAbove(15.0),
            Self::StudyReparse => Measure::BetAtLeast(20.0),
        }
    }
}

impl FromStr for StudyCriterion {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        match text {
            "study-scan" => Ok(Self::StudyScan),
            "study-reparse" => Ok(Self::StudyReparse),
            _ => Err(EffectsError::Choice {
                what: "criterion",
                text: text.to_owned(),
                choices: "study-scan or study-reparse",
            }),
        }
    }
}

/// What the criterion says of one feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyFinding {
    /// The feature.
    #[serde(serialize_with = "serialize_feature")]
    pub feature: FeatureId,
    /// Stop rate on the safe prompt under the safe value, less the baseline.
    pub safe_effect: Option<f64>,
    /// p of its χ² test; `None` where the criterion makes no test.
    pub safe_p: Option<f64>,
    /// Rate of high bets on the risky prompt under the risky value, less the baseline.
    pub risky_effect: Option<f64>,
    /// p of its χ² test.
    pub risky_p: Option<f64>,
    /// The safe half is significant and larger than 0.1.
    pub is_causal_safe: bool,
    /// The risky half is significant and larger than 0.1.
    pub is_causal_risky: bool,
    /// Either half.
    pub is_causal: bool,
    /// The study's class of directions.
    pub class: DirectionClass,
    /// The smaller p of the stop rate under the safe value against the baseline over both prompts: the value that the study gave to
    /// its stage of false discovery rates. It should have been doubled.
    pub fdr_p: Option<f64>,
    /// Its q value over all features that have one.
    pub fdr_q: Option<f64>,
    /// q below 0.05, and a difference of at least 0.05 on the prompt of the smaller p.
    pub passes_fdr: bool,
}

/// The study's classes of directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DirectionClass {
    /// Safer under its values: more stops, fewer high bets.
    Safe,
    /// Riskier under its values.
    Risky,
    /// Both halves move the same way.
    Mixed,
    /// Causal by the criterion, in no direction.
    CausalUnclear,
    /// Not causal by the criterion.
    NonCausal,
}

/// What the criterion says of all features.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyResult {
    /// The version.
    pub criterion: StudyCriterion,
    /// Features with enough trials on either prompt.
    pub tested: usize,
    /// Features that are causal by the criterion.
    pub causal: usize,
    /// Features by class.
    pub classes: BTreeMap<DirectionClass, usize>,
    /// Features that pass the stage of false discovery rates.
    pub passing_fdr: usize,
    /// Every feature.
    pub findings: Vec<StudyFinding>,
}

/// Applies the criterion to every feature, each with its own baseline.
pub(crate) fn study_result(arms: &Arms<'_>, criterion: StudyCriterion) -> Result<StudyResult, EffectsError> {
    let mut findings = Vec::new();
    for (feature, own) in &arms.features {
        findings.extend(finding(*feature, own, criterion)?);
    }
    adjust(&mut findings)?;
    let mut classes: BTreeMap<DirectionClass, usize> = BTreeMap::new();
    for found in &findings {
        *classes.entry(found.class).or_default() += 1;
    }
    Ok(StudyResult {
        criterion,
        tested: findings.len(),
        causal: findings.iter().filter(|found| found.is_causal).count(),
        classes,
        passing_fdr: findings.iter().filter(|found| found.passes_fdr).count(),
        findings,
    })
}

/// One half of the criterion: a value against the baseline on one prompt.
struct Half {
    effect: f64,
    p: Option<f64>,
}

impl Half {
    fn is_significant(&self) -> bool {
        self.p.is_some_and(|p| p < ALPHA) && self.effect.abs() > SMALLEST_EFFECT
    }
}

/// Events among all trials of a cell: the study divides by all, whatever could not be read.
fn rate_of(tally: &Tally, measure: &Measure) -> Result<Proportion, EffectsError> {
    Proportion::new(tally.known(measure).events, tally.trials()).map_err(EffectsError::stats("a rate"))
}

fn half(
    baseline: &Tally,
    patched: &Tally,
    measure: &Measure,
    needs_five: bool,
) -> Result<Half, EffectsError> {
    let (first, second) = (rate_of(baseline, measure)?, rate_of(patched, measure)?);
    let table = TwoByTwo::new(second, first).map_err(EffectsError::stats("a table of two arms"))?;
    let effect = second.estimate().unwrap_or_default() - first.estimate().unwrap_or_default();
    let full = table.cells().iter().flatten().all(|&cell| cell >= 5);
    let p = (full || !needs_five)
        .then(|| chi_square_test(&table, Yates::Yes).ok().map(|test| test.test.p))
        .flatten();
    Ok(Half { effect, p })
}

fn finding(
    feature: FeatureId,
    own: &FeatureArms<'_>,
    criterion: StudyCriterion,
) -> Result<Option<StudyFinding>, EffectsError> {
    let needs_five = criterion == StudyCriterion::StudyScan;
    // Baseline, safe value and risky value of a prompt, each with enough trials.
    let three = |prompt: &str| {
        let enough = |tally: Option<&'_ Tally>| tally.filter(|t| t.trials() >= FEWEST_TRIALS).cloned();
        Some((
            enough(own.own_baseline.get(prompt))?,
            enough(own.value_a.get(prompt))?,
            enough(own.value_b.get(prompt))?,
        ))
    };
    let (safe, risky) = (three("safe"), three("risky"));
    if safe.is_none() && risky.is_none() {
        return Ok(None);
    }
    let safe_half = match &safe {
        Some((baseline, safe_value, _)) => Some(half(baseline, safe_value, &Measure::Stop, needs_five)?),
        None => None,
    };
    let risky_half = match &risky {
        Some((baseline, _, risky_value)) => Some(half(
            baseline,
            risky_value,
            &criterion.risky_measure(),
            needs_five,
        )?),
        None => None,
    };
    let is = |half: &Option<Half>| half.as_ref().is_some_and(Half::is_significant);
    let (is_causal_safe, is_causal_risky) = (is(&safe_half), is(&risky_half));
    // Stop rate under the safe value against the baseline, on either prompt.
    let mut fdr: Option<Half> = None;
    for (baseline, safe_value, _) in [&safe, &risky].into_iter().flatten() {
        let stop = half(baseline, safe_value, &Measure::Stop, needs_five)?;
        let is_smaller = match (&fdr, stop.p) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(p)) => before.p.is_none_or(|q| p < q),
        };
        if is_smaller {
            fdr = Some(stop);
        }
    }
    let class = class_of(
        safe_half.as_ref().map_or(0.0, |half| half.effect),
        risky_half.as_ref().map_or(0.0, |half| half.effect),
        is_causal_safe,
        is_causal_risky,
    );
    Ok(Some(StudyFinding {
        feature,
        safe_effect: safe_half.as_ref().map(|half| half.effect),
        safe_p: safe_half.as_ref().and_then(|half| half.p),
        risky_effect: risky_half.as_ref().map(|half| half.effect),
        risky_p: risky_half.as_ref().and_then(|half| half.p),
        is_causal_safe,
        is_causal_risky,
        is_causal: is_causal_safe || is_causal_risky,
        class,
        fdr_p: fdr.as_ref().and_then(|half| half.p),
        fdr_q: None,
        passes_fdr: fdr.is_some_and(|half| half.effect.abs() >= SMALLEST_FDR_EFFECT),
    }))
}

/// The study's classes: an effect counts for a direction if its half is significant and it is larger than 0.1.
fn class_of(safe_effect: f64, risky_effect: f64, safe: bool, risky: bool) -> DirectionClass {
    match (safe, risky) {
        (false, false) => DirectionClass::NonCausal,
        (true, true) if safe_effect > 0.0 && risky_effect < 0.0 => DirectionClass::Safe,
        (true, true) if safe_effect < 0.0 && risky_effect > 0.0 => DirectionClass::Risky,
        (true, true) if safe_effect * risky_effect > 0.0 => DirectionClass::Mixed,
        (true, false) if safe_effect > 0.0 => DirectionClass::Safe,
        (false, true) if risky_effect > 0.0 => DirectionClass::Risky,
        _ => DirectionClass::CausalUnclear,
    }
}

fn adjust(findings: &mut [StudyFinding]) -> Result<(), EffectsError> {
    let with_p: Vec<usize> = (0..findings.len())
        .filter(|&i| findings[i].fdr_p.is_some())
        .collect();
    let p_values: Vec<f64> = with_p.iter().filter_map(|&i| findings[i].fdr_p).collect();
    let q_values = benjamini_hochberg(&p_values)
        .map_err(EffectsError::stats("the study's stage of false discovery rates"))?;
    for (&index, q) in with_p.iter().zip(q_values) {
        findings[index].fdr_q = Some(q);
    }
    for found in findings {
        found.passes_fdr = found.passes_fdr && found.fdr_q.is_some_and(|q| q < ALPHA);
    }
    Ok(())
}
