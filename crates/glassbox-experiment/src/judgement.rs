//! The rules that turn figures into a verdict and its words.
//!
//! In this order: unreadable texts decide nothing; a difference between the values counts if no control explains it; no
//! significance is no proof of absence, so "no effect" and "shared shift only" need the whole interval within the
//! smallest effect of interest; everything else is undecided.

use crate::scenario::CausalSettings;

/// The figures that a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Target rate under value B minus under value A.
    pub effect: f64,
    /// Its 95 % interval.
    pub ci: (f64, f64),
    /// Its q value.
    pub q: f64,
    /// Percentile of |effect| among the controls; missing without controls.
    pub percentile: Option<f64>,
    /// Target rate under value A minus the reference.
    pub shift_a: f64,
    /// Target rate under value B minus the reference.
    pub shift_b: f64,
    /// q value of the shared shift.
    pub shared_shift_q: f64,
    /// Smallest effect that could have been detected.
    pub detectable: Option<f64>,
    /// Mean of the two shifts.
    pub shared_shift: f64,
    /// Share of unreadable trials under both values.
    pub unknown_share: f64,
    /// Effect and p value among pairs of readable trials.
    pub known: Option<(f64, f64)>,
}

impl Figures {
    /// The verdict, and why.
    pub fn judge(&self, settings: &CausalSettings, outcome: &str) -> (&'static str, String) {
        let unreadable = 100.0 * self.unknown_share;
        if self.unknown_share > settings.max_unknown_share {
            let words = format!(
                "{unreadable:.0} % of the trials under these values have no readable outcome: holding the feature there breaks \
                 the text, and what remains cannot tell whether it moves the decision. ({})",
                self.change(outcome)
            );
            return ("cannot_tell", words);
        }
        if self.q < settings.alpha {
            return self.judge_difference(settings, outcome);
        }
        let smallest = settings.smallest_effect_of_interest;
        let within = self.ci.0 > -smallest && self.ci.1 < smallest;
        let includes_zero = self.ci.0 <= 0.0 && self.ci.1 >= 0.0;
        if within
            && includes_zero
            && self.shared_shift_q < settings.alpha
            && self.shift_a * self.shift_b > 0.0
        {
            let words = format!(
                "Both values move the {outcome} rate the same way against the reference ({} and {} points) and differ by \
                 less than {:.0} points ({} to {}): intervening matters, the value does not.",
                points(self.shift_a),
                points(self.shift_b),
                100.0 * smallest,
                points(self.ci.0),
                points(self.ci.1)
            );
            return ("shared_shift_only", words);
        }
        if within && includes_zero {
            let words = format!(
                "{}: nothing beyond ±{:.0} points.",
                self.change(outcome),
                100.0 * smallest
            );
            return ("no_effect", words);
        }
        let power = self.detectable.map_or_else(
            || "no effect could have been detected with so few trials".to_owned(),
            |found| format!("single tests of this size detect {:.0} points", 100.0 * found),
        );
        let open = if includes_zero {
            format!(
                "which includes zero and effects beyond ±{:.0} points",
                100.0 * smallest
            )
        } else {
            format!(
                "which excludes zero, but among all tests it may be chance (q = {:.2})",
                self.q
            )
        };
        (
            "cannot_tell",
            format!("Undecided: {}, {open}; {power}.", self.change(outcome)),
        )
    }

    /// The values differ: by the feature's doing, or by something that a control explains?
    fn judge_difference(&self, settings: &CausalSettings, outcome: &str) -> (&'static str, String) {
        let change = self.change(outcome);
        let Some(percentile) = self.percentile else {
            let words = format!(
                "{change}, but no random-feature controls were run: another direction might do as much."
            );
            return ("cannot_tell", words);
        };
        if percentile < settings.control_percentile {
            let words = format!(
                "{change}, but random features held at the same levels do as much (percentile {percentile:.0}): the size of \
                 the push may be the cause, not the feature."
            );
            return ("cannot_tell", words);
        }
        let readable = self
            .known
            .is_some_and(|(effect, p)| p < settings.alpha && effect.signum() == self.effect.signum());
        if !readable {
            let words = format!(
                "{change}, but among pairs with two readable outcomes the difference does not hold: the values may break \
                 the text, not the decision."
            );
            return ("cannot_tell", words);
        }
        let mut words =
            format!("{change}, more than {percentile:.0} % of random features held at the same levels do.");
        if self.shared_shift.abs() > self.effect.abs() {
            words.push_str(&format!(
                " Both values together shift the rate by {} points against the reference, more than they differ.",
                points(self.shared_shift)
            ));
        }
        if let Some((effect, _)) = self.known.filter(|_| self.unknown_share > 0.05) {
            words.push_str(&format!(
                " {:.0} % of these trials have no readable outcome; among pairs with two readable outcomes the change \
                 is {} points.",
                100.0 * self.unknown_share,
                points(effect)
            ));
        }
        ("specific_effect", words)
    }

    fn change(&self, outcome: &str) -> String {
        format!(
            "value B against value A changes the {outcome} rate by {} points (95 % interval {} to {})",
            points(self.effect),
            points(self.ci.0),
            points(self.ci.1)
        )
    }
}

/// A difference of rates in percentage points, with its sign.
fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Figures = Figures {
        effect: 0.3,
        ci: (0.2, 0.4),
        q: 1e-6,
        percentile: Some(99.0),
        shift_a: 0.0,
        shift_b: 0.3,
        shared_shift_q: 1.0,
        detectable: Some(0.1),
        shared_shift: 0.15,
        unknown_share: 0.0,
        known: Some((0.3, 1e-6)),
    };
    const NOTHING: Figures = Figures {
        effect: 0.0,
        ci: (-0.05, 0.05),
        q: 1.0,
        shift_b: 0.0,
        ..CLEAR
    };

    fn verdict(figures: Figures) -> &'static str {
        figures.judge(&CausalSettings::default(), "stop").0
    }

    #[test]
    fn each_control_can_take_a_finding_back() {
        assert_eq!(verdict(CLEAR), "specific_effect");
        for figures in [
            Figures {
                percentile: None,
                ..CLEAR
            },
            Figures {
                percentile: Some(80.0),
                ..CLEAR
            },
            Figures {
                unknown_share: 0.5,
                ..CLEAR
            },
            Figures {
                known: Some((0.1, 0.4)),
                ..CLEAR
            },
            Figures {
                known: Some((-0.3, 1e-6)),
                ..CLEAR
            },
            Figures { known: None, ..CLEAR },
        ] {
            assert_eq!(verdict(figures), "cannot_tell", "{figures:?}");
        }
    }

    #[test]
    fn absence_needs_an_interval_not_a_missing_significance() {
        assert_eq!(verdict(NOTHING), "no_effect");
        assert_eq!(
            verdict(Figures {
                ci: (-0.3, 0.3),
                ..NOTHING
            }),
            "cannot_tell"
        );
        assert_eq!(
            verdict(Figures {
                ci: (-0.09, -0.01),
                effect: -0.05,
                q: 0.2,
                ..NOTHING
            }),
            "cannot_tell"
        );
        assert_eq!(
            verdict(Figures {
                unknown_share: 1.0,
                ..NOTHING
            }),
            "cannot_tell"
        );
    }

    #[test]
    fn a_shared_shift_needs_values_that_are_shown_to_be_alike() {
        let shifted = Figures {
            shift_a: -0.4,
            shift_b: -0.4,
            shared_shift: -0.4,
            shared_shift_q: 1e-4,
            ..NOTHING
        };
        assert_eq!(verdict(shifted), "shared_shift_only");
        assert_eq!(
            verdict(Figures {
                ci: (-0.3, 0.1),
                ..shifted
            }),
            "cannot_tell"
        );
        assert_eq!(
            verdict(Figures {
                unknown_share: 0.9,
                ..shifted
            }),
            "cannot_tell"
        );
    }
}
