//! The outcomes of the trials of one cell, counted.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use glassbox_logs::{AggregateRecord, Share};
use glassbox_stats::{Moments, StatsError};

use crate::Measure;

/// A finite number that can be a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ordered(pub(crate) f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// How often a yes/no outcome was seen among the trials of which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Trials with the outcome.
    pub events: u64,
    /// Trials of which it is known whether they have it.
    pub known: u64,
    /// Trials of which it is not known.
    pub unknown: u64,
}

impl Known {
    /// events / known, where there are any.
    pub fn rate(&self) -> Option<f64> {
        (self.known > 0).then(|| self.events as f64 / self.known as f64)
    }
}

/// The outcomes of the trials of one cell, counted. All measures are read from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    trials: u64,
    stops: u64,
    bets: u64,
    unknown: u64,
    /// Outcomes of other experiments.
    labels: BTreeMap<String, u64>,
    /// Known amounts of the bets, and how often each was bet.
    amounts: BTreeMap<Ordered, u64>,
    /// Trials of cells that came counted and do not list their amounts.
    without_amounts: u64,
    high_risk: Flag,
    bankruptcy: Flag,
    /// Rates that were stated without a number of trials: nothing can be tested with them.
    uncounted: u64,
    /// Their sum for stops, for what can be said of them.
    uncounted_stop: f64,
}

/// A flag that only files of counted cells have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Flag {
    events: u64,
    trials: u64,
}

/// One trial's outcome, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Counted<'a> {
    Stop,
    Bet(Option<f64>),
    Label(&'a str),
    Unknown,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: Counted<'_>) {
        self.trials += 1;
        match outcome {
            Counted::Stop => self.stops += 1,
            Counted::Unknown => self.unknown += 1,
            Counted::Bet(amount) => {
                self.bets += 1;
                if let Some(amount) = amount.filter(|amount| amount.is_finite()) {
                    *self.amounts.entry(Ordered(amount)).or_default() += 1;
                }
            }
            Counted::Label(label) => match self.labels.get_mut(label) {
                Some(count) => *count += 1,
                None => {
                    self.labels.insert(label.to_owned(), 1);
                }
            },
        }
    }

    /// Adds a cell that came counted.
    pub(crate) fn add_aggregate(&mut self, record: &AggregateRecord) {
        let Some(trials) = record.trials else {
            self.uncounted += 1;
            self.uncounted_stop += record.stop.rate.unwrap_or_default();
            return;
        };
        self.trials += trials;
        let stops = record.stop.count.filter(|stops| *stops <= trials);
        match stops {
            Some(stops) => {
                self.stops += stops;
                self.bets += trials - stops;
                let fits = record.amounts.len() as u64 == trials - stops
                    && record.amounts.iter().all(|amount| amount.is_finite());
                if fits {
                    for &amount in &record.amounts {
                        *self.amounts.entry(Ordered(amount)).or_default() += 1;
                    }
                } else {
                    self.without_amounts += trials - stops;
                }
            }
            None => self.unknown += trials,
        }
        self.high_risk.add(&record.high_risk, trials);
        self.bankruptcy.add(&record.bankruptcy, trials);
    }

    /// Adds the trials of another tally.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.trials += other.trials;
        self.stops += other.stops;
        self.bets += other.bets;
        self.unknown += other.unknown;
        for (label, count) in &other.labels {
            *self.labels.entry(label.clone()).or_default() += count;
        }
        for (amount, count) in &other.amounts {
            *self.amounts.entry(*amount).or_default() += count;
        }
        self.without_amounts += other.without_amounts;
        for (own, more) in [
            (&mut self.high_risk, &other.high_risk),
            (&mut self.bankruptcy, &other.bankruptcy),
        ] {
            own.events += more.events;
            own.trials += more.trials;
        }
        self.uncounted += other.uncounted;
        self.uncounted_stop += other.uncounted_stop;
    }

    /// All trials, those with unknown outcome included.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// Trials whose outcome no parser could read.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Cells that stated rates without a number of trials, and the mean of their stop rates.
    pub fn uncounted(&self) -> Option<(u64, f64)> {
        (self.uncounted > 0).then(|| (self.uncounted, self.uncounted_stop / self.uncounted as f64))
    }

    /// Whether any bet's amount is known.
    pub fn has_amounts(&self) -> bool {
        !self.amounts.is_empty()
    }

    /// How often the outcome of a measure was seen; nothing for [`Measure::Amount`].
    pub fn known(&self, measure: &Measure) -> Known {
        let readable = self.trials - self.unknown;
        let of = |events: u64| Known {
            events,
            known: readable,
            unknown: self.unknown,
        };
        let flag = |flag: &Flag| Known {
            events: flag.events,
            known: flag.trials,
            unknown: self.trials - flag.trials.min(self.trials),
        };
        match measure {
            Measure::Stop => of(self.stops),
            Measure::Bet => of(self.bets),
            Measure::Label(label) => of(self.labels.get(label).copied().unwrap_or_default()),
            Measure::HighRisk => flag(&self.high_risk),
            Measure::Bankruptcy => flag(&self.bankruptcy),
            Measure::BetAtLeast(least) => self.bets_where(|amount| amount >= *least),
            Measure::BetAbove(above) => self.bets_where(|amount| amount > *above),
            Measure::Amount => Known::default(),
        }
    }

    fn bets_where(&self, holds: impl Fn(f64) -> bool) -> Known {
        let with_amount: u64 = self.amounts.values().sum();
        let events = self
            .amounts
            .iter()
            .filter(|(amount, _)| holds(amount.0))
            .map(|(_, count)| count)
            .sum();
        let silent = self.bets - with_amount.min(self.bets);
        let others: u64 = self.labels.values().sum();
        Known {
            events,
            known: self.stops + with_amount + others,
            unknown: self.unknown + silent,
        }
    }

    /// Outcomes of other experiments that were seen.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// Known amounts of the bets with how often each was bet, rising.
    pub fn amounts(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.amounts.iter().map(|(amount, count)| (amount.0, *count))
    }

    /// Moments of the known amounts.
    pub(crate) fn amount_moments(&self) -> Result<Moments, StatsError> {
        let mut moments = Moments::new();
        for (amount, count) in self.amounts() {
            moments.merge(&Moments::repeated(amount, count)?)?;
        }
        Ok(moments)
    }
}

impl Flag {
    fn add(&mut self, share: &Share, trials: u64) {
        if let Some(count) = share.count.filter(|count| *count <= trials) {
            self.events += count;
            self.trials += trials;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(outcomes: &[Counted<'_>]) -> Tally {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.add(*outcome);
        }
        tally
    }

    #[test]
    fn unknown_stays_unknown() {
        use Counted::{Bet, Label, Stop, Unknown};
        let tally = tally(&[
            Stop,
            Bet(Some(5.0)),
            Bet(None),
            Unknown,
            Bet(Some(20.0)),
            Label("quit"),
        ]);
        let known = |measure| tally.known(&measure);
        let of = |events, known, unknown| Known {
            events,
            known,
            unknown,
        };
        assert_eq!(known(Measure::Stop), of(1, 5, 1));
        assert_eq!(known(Measure::Bet), of(3, 5, 1));
        assert_eq!(known(Measure::BetAtLeast(20.0)), of(1, 4, 2));
        assert_eq!(known(Measure::BetAbove(20.0)), of(0, 4, 2));
        assert_eq!(known(Measure::Label("quit".into())), of(1, 5, 1));
        assert_eq!(known(Measure::HighRisk), of(0, 0, 6));
        let moments = tally.amount_moments().unwrap();
        assert_eq!((moments.count(), moments.mean()), (2, Ok(12.5)));
    }

    #[test]
    fn merging_is_counting_together() {
        use Counted::{Bet, Stop, Unknown};
        let all = [Stop, Bet(Some(5.0)), Unknown, Bet(Some(5.0)), Bet(None), Stop];
        let mut first = tally(&all[..2]);
        first.merge(&tally(&all[2..]));
        assert_eq!(first, tally(&all));
    }
}
