//! A uniform sample of contexts from each of several intervals of activation, in one pass, although the largest activation is known
//! only at the end.

use crate::census::context::Context;

/// Held beyond what is asked for, since moving the intervals loses some.
const SPARE: usize = 3;

/// Contexts of one interval, each with its random priority.
///
/// The invariant: of all active tokens of the interval (texts once), those with a priority below `below` are held. What is held is
/// therefore a uniform sample, whatever its size.
#[derive(Clone, Debug)]
struct Interval {
    below: u64,
    members: Vec<(u64, Context)>,
}

impl Interval {
    fn empty() -> Self {
        Self {
            below: u64::MAX,
            members: Vec::new(),
        }
    }

    fn trim(&mut self, most: usize) {
        self.members
            .sort_by_key(|(priority, context)| (*priority, context.token_number));
        if self.members.len() > most {
            self.below = self.members[most].0;
            self.members.truncate(most);
        }
    }
}

/// Samples from intervals of equal length between zero and a bound that grows with the largest activation.
#[derive(Clone, Debug)]
pub struct IntervalSample {
    per_interval: usize,
    bound: f64,
    intervals: Vec<Interval>,
}

/// A sampled interval.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledInterval {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// The contexts, highest activation first.
    pub contexts: Vec<Context>,
}

impl IntervalSample {
    /// No contexts yet.
    pub fn new(intervals: usize, per_interval: usize) -> Self {
        Self {
            per_interval,
            bound: 0.0,
            intervals: vec![Interval::empty(); intervals],
        }
    }

    fn place(&self, activation: f32) -> usize {
        place(f64::from(activation), self.bound, self.intervals.len())
    }

    /// Whether an active token with this activation and priority enters the sample, its text not considered. Moves the intervals
    /// where the activation lies above them.
    pub fn takes(&mut self, activation: f32, priority: u64) -> bool {
        if self.per_interval == 0 {
            return false;
        }
        if f64::from(activation) > self.bound {
            // Bounds are powers of the fourth root of two, so that intervals move seldom.
            let exponent = (f64::from(activation).log2() * 4.0).ceil();
            self.move_to((exponent / 4.0).exp2().max(f64::from(activation)));
        }
        priority < self.intervals[self.place(activation)].below
    }

    /// Enters a context that [`IntervalSample::takes`] agreed to.
    pub fn enter(&mut self, priority: u64, context: Context) {
        let most = self.per_interval + SPARE;
        let place = self.place(context.activation);
        let interval = &mut self.intervals[place];
        if interval
            .members
            .iter()
            .any(|(_, member)| member.same_text(&context))
        {
            return;
        }
        interval.members.push((priority, context));
        if interval.members.len() > most {
            interval.trim(most);
        }
    }

    /// Divides what lies below a new bound anew. An interval that takes from several keeps the lowest of their limits, so that its
    /// sample stays uniform.
    fn move_to(&mut self, bound: f64) {
        let count = self.intervals.len();
        let most = self.per_interval + SPARE;
        let old = std::mem::replace(&mut self.intervals, vec![Interval::empty(); count]);
        let (old_length, length) = (self.bound / count as f64, bound / count as f64);
        self.bound = bound;
        for (i, interval) in old.into_iter().enumerate() {
            let (from, to) = (i as f64 * old_length, (i + 1) as f64 * old_length);
            let (first, last) = (
                place(from * (1.0 + 1e-9), bound, count),
                place(to * (1.0 - 1e-9), bound, count),
            );
            for (j, new) in self.intervals.iter_mut().enumerate() {
                if (first..=last).contains(&j) && (j as f64) * length < to {
                    new.below = new.below.min(interval.below);
                }
            }
            for (priority, context) in interval.members {
                let j = place(f64::from(context.activation), bound, count);
                self.intervals[j].members.push((priority, context));
            }
        }
        for interval in &mut self.intervals {
            let below = interval.below;
            interval.members.retain(|(priority, _)| *priority < below);
            interval.trim(most);
        }
    }

    /// The samples of the intervals between zero and the largest activation, highest interval first.
    pub fn finish(mut self, largest: f32) -> Vec<SampledInterval> {
        if largest <= 0.0 || self.per_interval == 0 {
            return Vec::new();
        }
        self.move_to(f64::from(largest));
        let length = f64::from(largest) / self.intervals.len() as f64;
        let per_interval = self.per_interval;
        self.intervals
            .into_iter()
            .enumerate()
            .map(|(i, mut interval)| {
                interval.trim(per_interval);
                let mut contexts: Vec<Context> = interval.members.into_iter().map(|(_, c)| c).collect();
                contexts.sort_by(|one, other| {
                    other
                        .activation
                        .total_cmp(&one.activation)
                        .then(one.token_number.cmp(&other.token_number))
                });
                SampledInterval {
                    from: i as f64 * length,
                    to: (i + 1) as f64 * length,
                    contexts,
                }
            })
            .rev()
            .collect()
    }
}

/// The interval of a value below a bound.
fn place(value: f64, bound: f64, intervals: usize) -> usize {
    if bound <= 0.0 {
        return 0;
    }
    ((value / bound * intervals as f64) as usize).min(intervals - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::priority::priority;

    fn sample(seed: u64, values: &[f32]) -> Vec<SampledInterval> {
        let mut sample = IntervalSample::new(5, 5);
        for (number, value) in (0..).zip(values) {
            let drawn = priority(seed, 0, number);
            if sample.takes(*value, drawn) {
                let context = Context {
                    document: 0,
                    token_number: number,
                    peak: 0,
                    activation: *value,
                    tokens: vec![number as u32],
                    activations: vec![*value],
                };
                sample.enter(drawn, context);
            }
        }
        sample.finish(values.iter().copied().fold(0.0, f32::max))
    }

    #[test]
    fn samples_lie_in_their_intervals() {
        let values: Vec<f32> = (0..2000).map(|i| (i * 7919 % 1999 + 1) as f32 * 0.01).collect();
        let intervals = sample(3, &values);
        assert_eq!(intervals.len(), 5);
        assert!((intervals[0].to - 19.99).abs() < 1e-5 && intervals[4].from == 0.0);
        for interval in &intervals {
            assert!(interval.contexts.len() >= 3, "{}", interval.contexts.len());
            for context in &interval.contexts {
                let value = f64::from(context.activation);
                assert!(
                    value >= interval.from * 0.999 && value <= interval.to * 1.001,
                    "{value} {interval:?}"
                );
            }
        }
    }

    #[test]
    fn every_token_of_an_interval_is_as_likely_although_the_bound_grows() {
        // Values of the lowest interval come before, between and after values that move the bound.
        let values: Vec<f32> = (0..60)
            .map(|i| match i {
                20 => 3.0,
                40 => 11.0,
                i => 0.5 + (i as f32) * 0.001,
            })
            .collect();
        let mut drawn = [0_u32; 60];
        for seed in 0..6000 {
            for context in &sample(seed, &values)[4].contexts {
                drawn[context.token_number as usize] += 1;
            }
        }
        // 58 tokens of the lowest interval: each about as often as any other.
        let low: Vec<f64> = (0..60)
            .filter(|i| *i != 20 && *i != 40)
            .map(|i| f64::from(drawn[i]))
            .collect();
        let mean = low.iter().sum::<f64>() / low.len() as f64;
        assert!(mean > 100.0, "{mean}");
        for (i, count) in low.iter().enumerate() {
            assert!((count - mean).abs() < 6.0 * mean.sqrt(), "{i}: {count} of {mean}");
        }
    }
}
