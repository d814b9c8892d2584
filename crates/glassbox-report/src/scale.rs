//! From values to places, and where an axis has its marks.

/// A straight scale from an interval of values to an interval of places. Values outside are drawn at the edge; callers that clip say so
/// in the figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    domain: (f64, f64),
    range: (f64, f64),
}

impl Scale {
    /// A scale over `domain`; an empty or non-finite interval is widened to one of length 1.
    pub(crate) fn new(domain: (f64, f64), range: (f64, f64)) -> Self {
        let (low, high) = domain;
        let domain = if low.is_finite() && high.is_finite() && high > low {
            (low, high)
        } else {
            let centre = if low.is_finite() { low } else { 0.0 };
            (centre - 0.5, centre + 0.5)
        };
        Self { domain, range }
    }

    /// The place of a value, at the edge if it lies outside.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (low, high) = self.domain;
        let value = if value.is_nan() {
            low
        } else {
            value.clamp(low, high)
        };
        let (from, to) = self.range;
        from + (value - low) / (high - low) * (to - from)
    }

    /// Whether a value lies within the scale.
    pub(crate) fn holds(&self, value: f64) -> bool {
        (self.domain.0..=self.domain.1).contains(&value)
    }

    /// The values covered.
    pub(crate) fn domain(&self) -> (f64, f64) {
        self.domain
    }

    /// The places covered.
    pub(crate) fn range(&self) -> (f64, f64) {
        self.range
    }

    /// About `wanted` round values within the scale, with labels.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<Tick> {
        let (low, high) = self.domain;
        let step = round_step((high - low) / wanted.max(1) as f64);
        let decimals = decimals_of(step);
        let first = (low / step - 1e-9).ceil();
        let last = (high / step + 1e-9).floor();
        let ticks = (last - first).max(0.0) as usize;
        (0..=ticks.min(50))
            .map(|index| {
                let value = (first + index as f64) * step;
                Tick {
                    value,
                    label: crate::number::decimal(value, decimals),
                }
            })
            .collect()
    }
}

/// A mark of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Where.
    pub(crate) value: f64,
    /// What is written.
    pub(crate) label: String,
}

/// The round number (1, 2 or 5 times a power of ten) that is nearest to `step` in proportion.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let leading = step / power;
    // The limits are the geometric means of neighbours.
    let round = match leading {
        small if small < 2f64.sqrt() => 1.0,
        small if small < 10f64.sqrt() => 2.0,
        middle if middle < 50f64.sqrt() => 5.0,
        _ => 10.0,
    };
    round * power
}

fn decimals_of(step: f64) -> usize {
    let decimals = -(step.log10() + 1e-9).floor();
    if decimals > 0.0 {
        (decimals as usize).min(12)
    } else {
        0
    }
}

/// The smallest interval that holds zero and all finite values, symmetric about zero, widened by `margin` of itself, and at least
/// `smallest` on each side.
pub(crate) fn symmetric(values: impl Iterator<Item = f64>, margin: f64, smallest: f64) -> (f64, f64) {
    let largest = values
        .filter(|value| value.is_finite())
        .fold(0.0f64, |largest, value| largest.max(value.abs()));
    let limit = (largest * (1.0 + margin)).max(smallest);
    (-limit, limit)
}

/// The smallest interval that holds zero and all finite values, each side that is not zero widened by `margin` of the whole.
pub(crate) fn with_zero(values: impl Iterator<Item = f64>, margin: f64, smallest: f64) -> (f64, f64) {
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for value in values.filter(|value| value.is_finite()) {
        low = low.min(value);
        high = high.max(value);
    }
    if high - low < smallest {
        return if low < 0.0 && high <= 0.0 {
            (-smallest, 0.0)
        } else {
            (low, low + smallest)
        };
    }
    let extra = (high - low) * margin;
    (
        if low < 0.0 { low - extra } else { low },
        if high > 0.0 { high + extra } else { high },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let labels = |low: f64, high: f64| -> Vec<String> {
            Scale::new((low, high), (0.0, 1.0))
                .ticks(5)
                .into_iter()
                .map(|tick| tick.label)
                .collect()
        };
        assert_eq!(
            labels(-0.5, 0.5),
            ["\u{2212}0.4", "\u{2212}0.2", "0.0", "0.2", "0.4"]
        );
        assert_eq!(labels(0.0, 100.0), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(0.0, 0.013).first().map(String::as_str), Some("0.000"));
    }

    #[test]
    fn odd_domains_do_not_break_a_scale() {
        for domain in [(3.0, 3.0), (f64::NAN, 1.0), (1.0, 0.0), (0.0, f64::INFINITY)] {
            let scale = Scale::new(domain, (0.0, 10.0));
            assert!(
                scale.at(3.0).is_finite() && !scale.ticks(5).is_empty(),
                "{domain:?}"
            );
        }
        assert_eq!(Scale::new((0.0, 1.0), (0.0, 10.0)).at(7.0), 10.0);
    }

    #[test]
    fn intervals_hold_zero() {
        assert_eq!(symmetric([-2.0, 1.0].into_iter(), 0.0, 0.1), (-2.0, 2.0));
        assert_eq!(with_zero([1.0, 2.0].into_iter(), 0.5, 0.1), (0.0, 3.0));
        assert_eq!(with_zero(std::iter::empty(), 0.5, 1.0), (0.0, 1.0));
    }
}
