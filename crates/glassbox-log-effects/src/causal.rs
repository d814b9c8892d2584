//! The whole analysis: which features change the outcome, by their value or by being set at all.

use std::collections::BTreeMap;

use glassbox_stats::{PowerTarget, detectable_risk_difference};
use serde::Serialize;

use crate::cells::Cells;
use crate::comparison::Comparison;
use crate::doses::doses;
use crate::effect_row::{LogDoseRow, LogEffectRow};
use crate::effects::effects;
use crate::family::Family;
use crate::feature_arms::{Arms, BaselinePolicy};
use crate::outcomes::SourceName;
use crate::repeats::RepeatCounts;
use crate::reported_deltas::{ReportedDeltas, reported_deltas};
use crate::spread::{EffectPoint, Spread, median, spread};
use crate::study_criterion::{StudyCriterion, StudyResult, study_result};
use crate::summary_rows::{
    BaselineDrift, ConditionRow, LayerRow, amount_deviation, baseline_drift, conditions, layers,
};
use crate::tally::Tally;
use crate::unread::unread;
use crate::verdict::{Figures, Limits, Question, Verdict};
use crate::{EffectsError, Measure};

/// What to analyse, and by which limits.
#[derive(Clone, Debug, Default)]
pub struct CausalSettings {
    /// What of the outcome; the first decides the verdict. Empty for the usual ones of the data ([`usual_measures`]).
    pub measures: Vec<Measure>,
    /// The limits of verdicts.
    pub limits: Limits,
    /// Whose baseline a feature is compared with.
    pub baseline: BaselinePolicy,
    /// The study's own criterion, beside the analysis.
    pub criterion: Option<StudyCriterion>,
}

/// What the data say of one measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasureResult {
    /// The measure.
    pub measure: String,
    /// Value against value, or doses.
    pub question: Question,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// Features compared.
    pub features: usize,
    /// Features without information: the same outcome in every trial compared.
    pub uninformative: usize,
    /// Features with q at or below the limit, the largest effects first.
    pub found: Vec<String>,
    /// The effects of all features together.
    pub spread: Option<Spread>,
    /// The shared shift of all features together: both values against the reference.
    pub shared: Option<Spread>,
    /// Random-feature controls together, where the data have them.
    pub controls: Option<Spread>,
    /// Smallest effect that a typical feature's single test at 5 % finds with 80 % power.
    pub detectable: Option<f64>,
    /// The same at 5 % over the number of features (Bonferroni).
    pub detectable_in_family: Option<f64>,
    /// Share of trials whose outcome is not known.
    pub unknown_share: f64,
}

/// The whole analysis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CausalAnalysis {
    /// The verdict of the first measure.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// Features in the data.
    pub features: usize,
    /// Trials that count.
    pub trials: u64,
    /// Cells that came counted.
    pub counted_cells: u64,
    /// Rows that could not be used.
    pub unusable_rows: u64,
    /// Where outcomes came from.
    pub outcomes: SourceName,
    /// What became of repeated trials.
    pub repeats: RepeatCounts,
    /// What values are compared with, where there is something.
    pub reference: Option<&'static str>,
    /// Whose baseline.
    pub baseline: BaselinePolicy,
    /// The limits of the verdicts.
    pub limits: Limits,
    /// What stands in the way of taking the verdict at its word.
    pub cautions: Vec<String>,
    /// The verdict of every measure.
    pub measures: Vec<MeasureResult>,
    /// The families of tests.
    pub families: Vec<Family>,
    /// Whether baselines drift among features.
    pub baseline_drift: Vec<BaselineDrift>,
    /// Rates and means of every condition.
    pub conditions: Vec<ConditionRow>,
    /// Effects by block.
    pub layers: Vec<LayerRow>,
    /// Effects that files state without counts.
    pub reported: Vec<ReportedDeltas>,
    /// The study's own criterion.
    pub study: Option<StudyResult>,
    /// Every contrast of every feature.
    pub effects: Vec<LogEffectRow>,
    /// The trend of every feature.
    pub doses: Vec<LogDoseRow>,
}

/// Analyses counted cells.
///
/// # Errors
/// [`EffectsError::Stats`] if a statistic refuses its input.
pub fn analyse(cells: &Cells, settings: &CausalSettings) -> Result<CausalAnalysis, EffectsError> {
    let arms = Arms::of(cells);
    let measures = if settings.measures.is_empty() {
        usual_measures(cells)
    } else {
        settings.measures.clone()
    };
    let (effect_rows, mut families) = effects(&arms, &measures, settings.baseline)?;
    let (dose_rows, dose_family) = doses(&arms, &measures)?;
    families.extend(dose_family);
    let judge = Judge {
        cells,
        arms: &arms,
        limits: &settings.limits,
        baseline: settings.baseline,
        effects: &effect_rows,
        doses: &dose_rows,
    };
    let mut results = Vec::new();
    for measure in &measures {
        for question in [Question::Values, Question::Doses] {
            results.extend(judge.result(measure, question)?);
        }
    }
    let (verdict, words) = judge.overall(&results, cells);
    let mut drift = Vec::new();
    for measure in &measures {
        drift.extend(baseline_drift(&arms, measure)?);
    }
    let value_vs_value = Comparison::ValueVsValue.name(None);
    Ok(CausalAnalysis {
        verdict,
        words,
        features: cells.features().len(),
        trials: cells.trials(),
        counted_cells: cells.aggregates,
        unusable_rows: cells.report.unusable(),
        outcomes: cells.source.clone(),
        repeats: cells.repeats.clone(),
        reference: arms.reference().map(|reference| reference.name()),
        baseline: settings.baseline,
        limits: settings.limits,
        cautions: cautions(cells, &arms, &results, &drift),
        measures: results,
        families,
        baseline_drift: drift,
        conditions: conditions(cells, &measures)?,
        layers: layers(&effect_rows, &value_vs_value, settings.limits.alpha),
        reported: reported_deltas(&cells.reported),
        study: settings
            .criterion
            .map(|criterion| study_result(&arms, criterion))
            .transpose()?,
        effects: effect_rows,
        doses: dose_rows,
    })
}

/// The measures that the data have: the stop rate and, where amounts are known, the mean bet; the labels of other experiments.
pub fn usual_measures(cells: &Cells) -> Vec<Measure> {
    let mut all = Tally::default();
    for tally in cells.tallies.values() {
        all.merge(tally);
    }
    let labels: Vec<Measure> = all
        .labels()
        .map(|label| Measure::Label(label.to_owned()))
        .collect();
    let decides = [Measure::Stop, Measure::Bet]
        .iter()
        .any(|measure| all.known(measure).events > 0);
    let mut measures = Vec::new();
    if decides || labels.is_empty() {
        measures.push(Measure::Stop);
    }
    if all.has_amounts() {
        measures.push(Measure::Amount);
    }
    measures.extend(labels);
    measures
}

struct Judge<'a> {
    cells: &'a Cells,
    arms: &'a Arms<'a>,
    limits: &'a Limits,
    baseline: BaselinePolicy,
    effects: &'a [LogEffectRow],
    doses: &'a [LogDoseRow],
}

/// One feature's row, whichever table it is of.
struct RowFigures {
    name: String,
    effect: Option<(f64, f64, f64)>,
    point: Option<EffectPoint>,
    q: Option<f64>,
    known: u64,
    unknown: u64,
    detectable: Option<f64>,
}

impl From<&LogEffectRow> for RowFigures {
    fn from(row: &LogEffectRow) -> Self {
        Self {
            name: format!("L{}-{}", row.layer, row.feature),
            effect: interval(row.effect, row.ci_low, row.ci_high),
            point: point(row.z, row.effect, row.standard_error),
            q: row.q,
            known: row.n_1 + row.n_2,
            unknown: row.unknown_1 + row.unknown_2,
            detectable: row.detectable,
        }
    }
}

impl From<&LogDoseRow> for RowFigures {
    fn from(row: &LogDoseRow) -> Self {
        Self {
            name: format!("L{}-{}", row.layer, row.feature),
            effect: interval(row.effect, row.ci_low, row.ci_high),
            point: point(row.z, row.effect, row.standard_error),
            q: row.q,
            known: row.n,
            unknown: row.unknown,
            detectable: row.detectable,
        }
    }
}

fn interval(effect: Option<f64>, low: Option<f64>, high: Option<f64>) -> Option<(f64, f64, f64)> {
    Some((effect?, low?, high?))
}

fn point(z: Option<f64>, effect: Option<f64>, standard_error: Option<f64>) -> Option<EffectPoint> {
    Some(EffectPoint {
        z: z?,
        effect: effect?,
        standard_error: standard_error?,
    })
}

impl Judge<'_> {
    fn rows_of(&self, comparison: Comparison, measure: &str) -> Vec<RowFigures> {
        let name = comparison.name(self.arms.reference());
        self.effects
            .iter()
            .filter(|row| row.comparison == name && row.measure == measure)
            .map(RowFigures::from)
            .collect()
    }

    fn spread_of(rows: &[RowFigures]) -> Result<Option<Spread>, EffectsError> {
        let points: Vec<EffectPoint> = rows.iter().filter_map(|row| row.point).collect();
        spread(&points)
    }

    /// `None` if the data do not ask this question.
    fn result(&self, measure: &Measure, question: Question) -> Result<Option<MeasureResult>, EffectsError> {
        let name = measure.to_string();
        let rows = match question {
            Question::Values => self.rows_of(Comparison::ValueVsValue, &name),
            Question::Doses => self
                .doses
                .iter()
                .filter(|row| row.measure == name)
                .map(RowFigures::from)
                .collect(),
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let spread = Self::spread_of(&rows)?;
        let shared_rows = match question {
            Question::Values => self.rows_of(Comparison::SharedShift, &name),
            Question::Doses => Vec::new(),
        };
        let mut shared = Self::spread_of(&shared_rows)?;
        if let Some(shared) = &mut shared {
            shared.widen_mean(self.reference_variance(measure)?);
        }
        let controls = match question {
            Question::Values => Self::spread_of(&self.rows_of(Comparison::ControlVsControl, &name))?,
            Question::Doses => None,
        };
        let against = self.arms.reference().map(|reference| reference.words());
        let mut found: Vec<(String, f64)> = rows
            .iter()
            .filter(|row| row.q.is_some_and(|q| q <= self.limits.alpha))
            .filter_map(|row| Some((row.name.clone(), row.effect?.0)))
            .collect();
        found.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
        let (known, unknown) = rows.iter().fold((0, 0), |(known, unknown), row| {
            (known + row.known, unknown + row.unknown)
        });
        let unknown_share = unknown as f64 / (known + unknown).max(1) as f64;
        let detectable: Vec<f64> = rows.iter().filter_map(|row| row.detectable).collect();
        let detectable = (!detectable.is_empty()).then(|| median(detectable));
        let single = match rows.as_slice() {
            [row] if row.point.is_some() => row.effect,
            _ => None,
        };
        let single_shared = match (shared_rows.as_slice(), against) {
            ([row], Some(against)) => row.effect.map(|(effect, low, high)| (effect, low, high, against)),
            _ => None,
        };
        let figures = Figures {
            measure,
            question,
            tested: rows.len(),
            found,
            spread: spread.as_ref(),
            single,
            shared: shared.as_ref().zip(against),
            single_shared,
            unknown_share,
            smallest: self.smallest(measure)?,
            detectable,
        };
        let (verdict, words) = figures.judge(self.limits);
        let found = figures.found.iter().map(|(name, _)| name.clone()).collect();
        Ok(Some(MeasureResult {
            measure: name,
            question,
            verdict,
            words,
            features: rows.len(),
            uninformative: rows.iter().filter(|row| row.point.is_none()).count(),
            found,
            detectable_in_family: self.detectable_in_family(measure, question),
            spread,
            shared,
            controls,
            detectable,
            unknown_share,
        }))
    }

    /// Variance that reference trials which all features share add to the mean shared shift. Each feature's own standard error holds
    /// it too, but averaging over features does not make it smaller.
    fn reference_variance(&self, measure: &Measure) -> Result<f64, EffectsError> {
        if self.baseline == BaselinePolicy::Own {
            return Ok(0.0);
        }
        let mut compared: BTreeMap<&str, Tally> = BTreeMap::new();
        for own in self.arms.features.values() {
            for (prompt, tally) in own.value_a.iter().chain(&own.value_b) {
                compared.entry(prompt).or_default().merge(tally);
            }
        }
        let mut parts = Vec::new();
        for (prompt, tally) in self.arms.reference_trials() {
            let Some(values) = compared.get(prompt) else {
                continue;
            };
            let (n, variance, others) = if measure.is_amount() {
                let failed = || EffectsError::stats("the mean of amounts");
                let moments = tally.amount_moments().map_err(failed())?;
                let others = values.amount_moments().map_err(failed())?.count();
                (moments.count(), moments.variance().unwrap_or_default(), others)
            } else {
                let known = tally.known(measure);
                let rate = known.rate().unwrap_or_default();
                (known.known, rate * (1.0 - rate), values.known(measure).known)
            };
            if n > 0 && others > 0 {
                let (n, others) = (n as f64, others as f64);
                parts.push((n * (others / (n + others)), variance / n));
            }
        }
        let total: f64 = parts.iter().map(|(weight, _)| weight).sum();
        Ok(parts
            .iter()
            .map(|(weight, variance)| (weight / total).powi(2) * variance)
            .sum())
    }

    /// The smallest effect of interest in the measure's unit.
    fn smallest(&self, measure: &Measure) -> Result<Option<f64>, EffectsError> {
        if !measure.is_amount() {
            return Ok(Some(self.limits.smallest_effect));
        }
        Ok(amount_deviation(self.cells)?.map(|deviation| self.limits.smallest_d * deviation))
    }

    /// What a typical feature's test finds when the level is shared among all features.
    fn detectable_in_family(&self, measure: &Measure, question: Question) -> Option<f64> {
        if question == Question::Doses || measure.is_amount() {
            return None;
        }
        let name = (Comparison::ValueVsValue.name(None), measure.to_string());
        let rows: Vec<&LogEffectRow> = self
            .effects
            .iter()
            .filter(|row| (&row.comparison, &row.measure) == (&name.0, &name.1))
            .collect();
        let typical =
            |pick: &dyn Fn(&LogEffectRow) -> f64| median(rows.iter().map(|row| pick(row)).collect());
        let target = PowerTarget::new(self.limits.alpha / rows.len() as f64, 0.8).ok()?;
        let found = detectable_risk_difference(
            typical(&|row| row.n_1 as f64) as u64,
            typical(&|row| row.n_2 as f64) as u64,
            typical(&|row| row.value_1.unwrap_or_default()),
            target,
        )
        .ok()?;
        [found.rise.ok(), found.fall.ok()]
            .into_iter()
            .flatten()
            .min_by(f64::total_cmp)
    }

    /// The verdict of the first measure, and what stands out in the others. A specific effect by doses or by values decides it.
    fn overall(&self, results: &[MeasureResult], cells: &Cells) -> (Verdict, String) {
        let Some(first) = results.first() else {
            return (Verdict::CannotTell, self.nothing_to_compare(cells));
        };
        let is_specific = |result: &&MeasureResult| result.verdict == Verdict::SpecificEffect;
        let deciding = results
            .iter()
            .filter(|result| result.measure == first.measure)
            .find(is_specific)
            .unwrap_or(first);
        let mut words = deciding.words.clone();
        for other in results
            .iter()
            .filter(|result| result.measure != first.measure)
            .filter(is_specific)
        {
            let selection = if other.measure == Measure::Amount.to_string() {
                " Amounts are those of trials that bet, which the intervention itself may select."
            } else {
                ""
            };
            words.push_str(&format!(" Besides: {}{selection}", other.words));
        }
        (deciding.verdict, words)
    }

    fn nothing_to_compare(&self, cells: &Cells) -> String {
        let mut all = Tally::default();
        for tally in cells.tallies.values() {
            all.merge(tally);
        }
        if let Some((count, rate)) = all.uncounted() {
            let same = if rate == 0.0 || rate == 1.0 {
                format!(
                    " All {count} stated stop rates are exactly {rate}: look for a fault in how they were made, for instance a parser that \
                     never reads a stop."
                )
            } else {
                String::new()
            };
            return format!(
                "Rates are stated without the number of trials behind them: nothing can be tested.{same}"
            );
        }
        let deltas = reported_deltas(&cells.reported);
        if let Some(most) = deltas.iter().max_by_key(|delta| delta.features) {
            let agree = most.correlation.map_or_else(String::new, |correlation| {
                format!(
                    " Over {} features what the two values are said to change ({}) has correlation {correlation:.2}; what they share varies \
                     with standard deviation {:.3}, what they do not share with {:.3}.",
                    most.features, most.measure, most.shared_deviation, most.specific_deviation
                )
            });
            return format!(
                "Effects are stated without the counts behind them: nothing can be tested.{agree}"
            );
        }
        let has_values = !self.arms.features.is_empty();
        if has_values {
            "No feature was set to two values on the same prompt, nor to several doses: there is nothing to compare. Trials under value A \
             (safe) and value B (risky) of the same feature are needed."
                .to_owned()
        } else {
            "No trial belongs to a feature.".to_owned()
        }
    }
}

/// What stands in the way of taking the verdict at its word.
fn cautions(
    cells: &Cells,
    arms: &Arms<'_>,
    results: &[MeasureResult],
    drift: &[BaselineDrift],
) -> Vec<String> {
    let mut cautions = unread(&cells.report);
    let repeats = &cells.repeats;
    if repeats.repeats > 0 {
        let names: Vec<String> = repeats
            .features
            .iter()
            .take(3)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let features = repeats.features.len();
        let more = if features > 3 { ", …" } else { "" };
        let dropped = repeats.rows - repeats.kept - repeats.later_attempts;
        cautions.push(format!(
            "{} rows repeat a trial of {features} features ({}{more}); {dropped} rows were left out.",
            repeats.repeats,
            names.join(", ")
        ));
    }
    if repeats.unnumbered > 0 {
        cautions.push(format!(
            "{} trials have no number: whether they repeat one another cannot be told.",
            repeats.unnumbered
        ));
    }
    if cells.source.hash.is_none() && repeats.rows > 0 {
        cautions.push(
            "Outcomes are as the log states them; read them again with --parser to see what depends on the parser.".to_owned(),
        );
    }
    for own in drift {
        if own.p_more < 0.001 {
            cautions.push(format!(
                "Baselines differ among the features they were logged under ({}; variance of z {:.1}, p = {:.1e}), though no feature has a part \
                 in them: sessions differ. Compare with --baseline own.",
                own.measure, own.variance_z, own.p_more
            ));
        } else if own.p_less < 0.001 {
            cautions.push(format!(
                "Baselines differ less among features than chance allows ({}; variance of z {:.2}): they may be copies of one another, and \
                 intervals too narrow.",
                own.measure, own.variance_z
            ));
        }
    }
    for result in results {
        if let Some(spread) = &result.spread
            && spread.p_less < 0.001
        {
            cautions.push(format!(
                "Effects on {} differ less among features than chance allows (variance of z {:.2}): trials may be copies of one another.",
                result.measure, spread.variance_z
            ));
        }
        if result.uninformative > 0 {
            cautions.push(format!(
                "{} of {} features have one and the same outcome ({}) in all trials compared; they count as tested.",
                result.uninformative, result.features, result.measure
            ));
        }
    }
    let unread = cells
        .tallies
        .keys()
        .filter(|key| matches!(key.arm, glassbox_logs::Arm::Other(_)))
        .count();
    if unread > 0 {
        cautions.push(format!(
            "{unread} cells have an arm that no vocabulary here knows; they are not compared."
        ));
    }
    if arms.reference().is_none() && results.iter().any(|result| result.question == Question::Values) {
        cautions.push("There is no baseline: a shift that both values share cannot be seen.".to_owned());
    }
    cautions
}
