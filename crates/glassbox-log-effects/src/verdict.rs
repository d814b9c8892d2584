//! From figures to a verdict and its words.
//!
//! No significance is no proof of absence: "no effect" and "shared shift only" need intervals within the smallest effect of
//! interest, of the mean over features and of the spread of true effects about it. Everything else is undecided.

use serde::Serialize;

use crate::Measure;
use crate::spread::Spread;

/// A spread beyond chance without a named feature counts at this share of alpha: it is a second way to the same verdict, and
/// together the two should err little more often than alpha.
const SPREAD_SHARE: f64 = 0.2;

/// What the data say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The value that a feature is set to matters, for some feature.
    SpecificEffect,
    /// Intervening matters; the value, and with it the feature, does not.
    SharedShiftOnly,
    /// Neither matters by more than the smallest effect of interest.
    NoEffect,
    /// The data cannot tell.
    CannotTell,
}

impl Verdict {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpecificEffect => "specific_effect",
            Self::SharedShiftOnly => "shared_shift_only",
            Self::NoEffect => "no_effect",
            Self::CannotTell => "cannot_tell",
        }
    }
}

/// The limits that a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Largest q value that counts.
    pub alpha: f64,
    /// Smallest difference of rates that matters.
    pub smallest_effect: f64,
    /// Smallest difference of amounts that matters, as Cohen's d.
    pub smallest_d: f64,
    /// Largest share of trials without a readable outcome.
    pub largest_unknown: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            smallest_effect: 0.1,
            smallest_d: 0.2,
            largest_unknown: 0.2,
        }
    }
}

/// What decides: value against value, or the trend over doses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Value B against value A.
    Values,
    /// The trend over doses.
    Doses,
}

impl Question {
    fn contrast(self) -> &'static str {
        match self {
            Self::Values => "value B against value A",
            Self::Doses => "the highest dose against the lowest",
        }
    }
}

/// The figures of one measure that a verdict rests on.
#[derive(Clone, Debug)]
pub(crate) struct Figures<'f> {
    pub(crate) measure: &'f Measure,
    pub(crate) question: Question,
    /// Features that were tested, with information or without.
    pub(crate) tested: usize,
    /// Those with q at or below alpha: name and effect, the largest first.
    pub(crate) found: Vec<(String, f64)>,
    pub(crate) spread: Option<&'f Spread>,
    /// The only feature's effect and interval, where there is one feature.
    pub(crate) single: Option<(f64, f64, f64)>,
    /// The shared shift over all features, and what it is against.
    pub(crate) shared: Option<(&'f Spread, &'static str)>,
    /// The shared shift of a single feature: effect, interval, and what it is against.
    pub(crate) single_shared: Option<(f64, f64, f64, &'static str)>,
    /// Share of trials without a readable outcome, over all trials compared.
    pub(crate) unknown_share: f64,
    /// Smallest effect of interest in the measure's own unit.
    pub(crate) smallest: Option<f64>,
    /// Typical smallest effect that one feature's test would find.
    pub(crate) detectable: Option<f64>,
}

impl Figures<'_> {
    /// The verdict, and why.
    pub(crate) fn judge(&self, limits: &Limits) -> (Verdict, String) {
        let measure = self.measure.words();
        if self.tested == 0 {
            let words = format!("No feature has trials to compare {measure} with.");
            return (Verdict::CannotTell, words);
        }
        if self.unknown_share > limits.largest_unknown {
            let words = format!(
                "{:.0} % of the trials have no readable outcome for {measure}: what remains cannot speak for all.",
                100.0 * self.unknown_share
            );
            return (Verdict::CannotTell, words);
        }
        if !self.found.is_empty() {
            return (Verdict::SpecificEffect, self.found_words(limits));
        }
        match (self.spread, self.single) {
            (Some(spread), _) => self.judge_spread(spread, limits),
            (None, Some(single)) => self.judge_single(single, limits),
            (None, None) => {
                let words = format!(
                    "Nothing to test: {measure} takes one and the same value in every trial that is compared, for all {} features. \
                     Such data hold no information about any effect; look for a fault in how they were made.",
                    self.tested
                );
                (Verdict::CannotTell, words)
            }
        }
    }

    fn found_words(&self, limits: &Limits) -> String {
        let list: Vec<String> = self
            .found
            .iter()
            .take(5)
            .map(|(name, effect)| format!("{name} ({})", self.amount(*effect)))
            .collect();
        let more = if self.found.len() > 5 { ", …" } else { "" };
        let mut words = format!(
            "{} of {} features change {} {}, {} (q ≤ {}): {}{more}. A random direction held at the same levels may do as \
             much; only controls can tell.",
            self.found.len(),
            self.tested,
            self.measure.words(),
            match self.question {
                Question::Values => "by their value",
                Question::Doses => "with their dose",
            },
            self.question.contrast(),
            limits.alpha,
            list.join(", ")
        );
        if let Some(spread) = self.spread {
            words.push_str(&format!(" {}", chance(spread)));
        }
        words
    }

    fn judge_spread(&self, spread: &Spread, limits: &Limits) -> (Verdict, String) {
        let measure = self.measure.words();
        if spread.p_more <= SPREAD_SHARE * limits.alpha {
            let words = format!(
                "The features differ by more than chance in {measure}, {}, though none can be named (no q ≤ {}). {}",
                self.question.contrast(),
                limits.alpha,
                chance(spread)
            );
            return (Verdict::SpecificEffect, words);
        }
        let Some(smallest) = self.smallest else {
            let words = format!("No feature stands out in {measure}. {}", chance(spread));
            return (Verdict::CannotTell, words);
        };
        let mean_within = spread.mean_low > -smallest && spread.mean_high < smallest;
        let spread_within = spread.true_deviation_high < smallest;
        if !(mean_within && spread_within) {
            let words = format!(
                "Undecided: no feature stands out in {measure}, {}, but effects of {} and more are not excluded (mean {}, 95 % interval \
                 {} to {}; true effects may spread by up to {}). {}{}",
                self.question.contrast(),
                self.amount(smallest).trim_start_matches('+'),
                self.amount(spread.mean_effect),
                self.amount(spread.mean_low),
                self.amount(spread.mean_high),
                self.amount(spread.true_deviation_high).trim_start_matches('+'),
                chance(spread),
                self.power_words()
            );
            return (Verdict::CannotTell, words);
        }
        if let Some((shared, against)) = self.shared
            && (shared.mean_low > 0.0 || shared.mean_high < 0.0 || shared.p_more <= limits.alpha)
        {
            let words = format!(
                "Intervening matters, the value does not: against {against} both values move {measure} by {} on average (95 % interval {} \
                 to {}; variance of z {:.2}), while {} changes it by {} ({} to {}). {}",
                self.amount(shared.mean_effect),
                self.amount(shared.mean_low),
                self.amount(shared.mean_high),
                shared.variance_z,
                self.question.contrast(),
                self.amount(spread.mean_effect),
                self.amount(spread.mean_low),
                self.amount(spread.mean_high),
                chance(spread)
            );
            return (Verdict::SharedShiftOnly, words);
        }
        let words = format!(
            "No effect beyond chance: {} changes {measure} by {} on average (95 % interval {} to {}), no feature of {} stands out, and \
             true effects spread by at most {}. {}{}",
            self.question.contrast(),
            self.amount(spread.mean_effect),
            self.amount(spread.mean_low),
            self.amount(spread.mean_high),
            self.tested,
            self.amount(spread.true_deviation_high).trim_start_matches('+'),
            chance(spread),
            self.power_words()
        );
        (Verdict::NoEffect, words)
    }

    fn judge_single(&self, (effect, low, high): (f64, f64, f64), limits: &Limits) -> (Verdict, String) {
        let measure = self.measure.words();
        let change = format!(
            "{} changes {measure} by {} (95 % interval {} to {})",
            self.question.contrast(),
            self.amount(effect),
            self.amount(low),
            self.amount(high)
        );
        let within = self
            .smallest
            .is_some_and(|smallest| low > -smallest && high < smallest);
        if !within {
            let words = format!("Undecided: {change}.{}", self.power_words());
            return (Verdict::CannotTell, words);
        }
        if let Some((shared, shared_low, shared_high, against)) = self.single_shared
            && (shared_low > 0.0 || shared_high < 0.0)
        {
            let words = format!(
                "Intervening matters, the value does not: against {against} both values move {measure} by {} ({} to {}), while {change}.",
                self.amount(shared),
                self.amount(shared_low),
                self.amount(shared_high)
            );
            return (Verdict::SharedShiftOnly, words);
        }
        let smallest = self.smallest.unwrap_or(limits.smallest_effect);
        let words = format!(
            "No effect beyond {}: {change}.",
            self.amount(smallest).trim_start_matches('+')
        );
        (Verdict::NoEffect, words)
    }

    fn power_words(&self) -> String {
        self.detectable.map_or_else(String::new, |detectable| {
            format!(
                " A single feature's test at 5 % finds {} with 80 % power.",
                self.amount(detectable).trim_start_matches('+')
            )
        })
    }

    /// A difference in the measure's unit, with its sign.
    fn amount(&self, difference: f64) -> String {
        if self.measure.is_amount() {
            format!("{difference:+.2}")
        } else {
            format!("{:+.1} points", 100.0 * difference)
        }
    }
}

/// What the variance of z says.
fn chance(spread: &Spread) -> String {
    format!(
        "The features' z values have variance {:.2} (95 % interval {:.2} to {:.2}; chance alone gives 1).",
        spread.variance_z, spread.variance_low, spread.variance_high
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANCE: Spread = Spread {
        features: 100,
        mean_z: 0.1,
        variance_z: 1.02,
        variance_low: 0.8,
        variance_high: 1.3,
        p_more: 0.4,
        p_less: 0.6,
        mean_effect: 0.005,
        mean_low: -0.01,
        mean_high: 0.02,
        standard_error: 0.1,
        true_deviation: 0.014,
        true_deviation_high: 0.055,
        q_statistic: 100.0,
        q_df: 99.0,
        q_p: 0.4,
        i_squared: 0.0,
        tau_squared: 0.0,
    };

    fn figures() -> Figures<'static> {
        Figures {
            measure: &Measure::Stop,
            question: Question::Values,
            tested: 100,
            found: Vec::new(),
            spread: Some(&CHANCE),
            single: None,
            shared: None,
            single_shared: None,
            unknown_share: 0.0,
            smallest: Some(0.1),
            detectable: Some(0.3),
        }
    }

    fn verdict(figures: &Figures<'_>) -> Verdict {
        figures.judge(&Limits::default()).0
    }

    #[test]
    fn absence_needs_intervals_within_what_matters() {
        assert_eq!(verdict(&figures()), Verdict::NoEffect);
        let wide = Spread {
            true_deviation_high: 0.12,
            ..CHANCE
        };
        assert_eq!(
            verdict(&Figures {
                spread: Some(&wide),
                ..figures()
            }),
            Verdict::CannotTell
        );
        let shifted = Spread {
            mean_high: 0.11,
            ..CHANCE
        };
        assert_eq!(
            verdict(&Figures {
                spread: Some(&shifted),
                ..figures()
            }),
            Verdict::CannotTell
        );
        assert_eq!(
            verdict(&Figures {
                smallest: None,
                ..figures()
            }),
            Verdict::CannotTell
        );
        assert_eq!(
            verdict(&Figures {
                unknown_share: 0.4,
                ..figures()
            }),
            Verdict::CannotTell
        );
        assert_eq!(
            verdict(&Figures {
                tested: 0,
                ..figures()
            }),
            Verdict::CannotTell
        );
        assert_eq!(
            verdict(&Figures {
                spread: None,
                ..figures()
            }),
            Verdict::CannotTell
        );
    }

    #[test]
    fn a_shared_shift_is_no_specific_effect() {
        let shared = Spread {
            mean_effect: -0.41,
            mean_low: -0.43,
            mean_high: -0.39,
            variance_z: 3.0,
            p_more: 1e-20,
            ..CHANCE
        };
        let shift = Figures {
            shared: Some((&shared, "the baseline")),
            ..figures()
        };
        let (found, words) = shift.judge(&Limits::default());
        assert_eq!(found, Verdict::SharedShiftOnly);
        assert!(
            words.contains("-41.0 points") && words.contains("the baseline"),
            "{words}"
        );
        let none = Figures {
            shared: Some((&CHANCE, "the baseline")),
            ..figures()
        };
        assert_eq!(verdict(&none), Verdict::NoEffect);
    }

    #[test]
    fn one_feature_or_more_spread_than_chance_is_specific() {
        let found = Figures {
            found: vec![("L9-456".into(), 0.3)],
            ..figures()
        };
        let (kind, words) = found.judge(&Limits::default());
        assert_eq!(kind, Verdict::SpecificEffect);
        assert!(words.contains("L9-456 (+30.0 points)"), "{words}");
        let spread = Spread {
            p_more: 1e-4,
            ..CHANCE
        };
        assert_eq!(
            verdict(&Figures {
                spread: Some(&spread),
                ..figures()
            }),
            Verdict::SpecificEffect
        );
    }

    #[test]
    fn a_single_feature_is_judged_by_its_interval() {
        let single = |low, high| Figures {
            spread: None,
            tested: 1,
            single: Some((f64::midpoint(low, high), low, high)),
            ..figures()
        };
        assert_eq!(verdict(&single(-0.05, 0.05)), Verdict::NoEffect);
        assert_eq!(verdict(&single(-0.2, 0.05)), Verdict::CannotTell);
        let shifted = Figures {
            single_shared: Some((0.4, 0.3, 0.5, "the baseline")),
            ..single(-0.05, 0.05)
        };
        assert_eq!(verdict(&shifted), Verdict::SharedShiftOnly);
    }
}
