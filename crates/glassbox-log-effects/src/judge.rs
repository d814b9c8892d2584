//! The verdict of every measure, from its rows.

use std::collections::BTreeMap;

use glassbox_stats::{PowerTarget, detectable_risk_difference};

use crate::causal::MeasureResult;
use crate::cells::Cells;
use crate::comparison::Comparison;
use crate::effect_row::{LogDoseRow, LogEffectRow};
use crate::feature_arms::{Arms, BaselinePolicy};
use crate::reported_deltas::reported_deltas;
use crate::spread::{EffectPoint, Spread, median, spread};
use crate::summary_rows::amount_deviation;
use crate::tally::Tally;
use crate::verdict::{Figures, Limits, Question, Verdict};
use crate::{EffectsError, Measure};

/// What verdicts are made from.
pub(crate) struct Judge<'a> {
    pub(crate) cells: &'a Cells,
    pub(crate) arms: &'a Arms<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) baseline: BaselinePolicy,
    pub(crate) effects: &'a [LogEffectRow],
    pub(crate) doses: &'a [LogDoseRow],
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
    pub(crate) fn result(
        &self,
        measure: &Measure,
        question: Question,
    ) -> Result<Option<MeasureResult>, EffectsError> {
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
    pub(crate) fn overall(&self, results: &[MeasureResult], cells: &Cells) -> (Verdict, String) {
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
