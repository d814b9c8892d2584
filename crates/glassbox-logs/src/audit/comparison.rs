//! How two parsers agree on the same responses.

use std::collections::BTreeMap;

use glassbox_outcome::Parser;
use serde::Serialize;

use super::Criterion;
use crate::{LogsError, Repeats, Treatment, TrialIndex};

/// Which parser read something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParserIdentity {
    /// Name and version.
    pub id: String,
    /// First 16 digits of the hash of its rules.
    pub hash: String,
}

impl ParserIdentity {
    /// That of a parser.
    pub fn of(parser: &Parser) -> Self {
        Self {
            id: parser.id(),
            hash: parser.hash().to_owned(),
        }
    }
}

/// How two parsers agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParserComparison {
    /// The two parsers.
    pub parsers: [ParserIdentity; 2],
    /// Which row of a repeated trial counts where repeats are left out.
    pub kept: &'static str,
    /// With every row, and with repeats left out.
    pub sets: Vec<ComparedSet>,
    /// The outcomes of every treatment, repeats left out.
    pub treatments: Vec<ComparedTreatment>,
    /// How many findings depend on the parser, repeats left out.
    pub flips: Vec<Flips>,
}

/// What two parsers read of the responses to one treatment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComparedTreatment {
    /// Kind of prompt, arm and dose.
    pub treatment: String,
    /// Responses.
    pub responses: u64,
    /// Responses by outcome, as the first parser and as the second reads them.
    pub outcomes: BTreeMap<String, [u64; 2]>,
}

/// The agreement on one set of responses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedSet {
    /// Which rows: `all rows` or `first of each trial`.
    pub rows: &'static str,
    /// Responses.
    pub responses: u64,
    /// Responses with two different outcomes; unknown differs from every other outcome.
    pub disagree: u64,
    /// The share of these.
    pub disagree_share: f64,
    /// Labels of the rows and columns of `confusion`.
    pub labels: Vec<String>,
    /// Responses by the outcome of the first parser (row) and of the second (column).
    pub confusion: Vec<Vec<u64>>,
    /// Responses that both read as a bet.
    pub both_bet: u64,
    /// Of these, with the same amount, or with an unknown amount for both.
    pub same_amount: u64,
}

/// How many findings depend on the parser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flips {
    /// The criterion.
    pub criterion: String,
    /// What was tested with both.
    pub tested: u64,
    /// Findings with the first parser.
    pub first: u64,
    /// Findings with the second.
    pub second: u64,
    /// Findings with both.
    pub both: u64,
    /// Findings with one alone, by name: the first ones.
    pub only_first: Vec<String>,
    /// Findings with the second alone.
    pub only_second: Vec<String>,
    /// Findings with one alone.
    pub flipped: u64,
}

/// Names kept of flipped findings.
const KEPT_NAMES: usize = 100;

impl ParserComparison {
    /// Compares what two sources of an index read.
    ///
    /// # Errors
    /// Those of the criteria.
    pub fn new(
        index: &TrialIndex,
        parsers: [&Parser; 2],
        sources: [usize; 2],
        criteria: Vec<&dyn Criterion>,
    ) -> Result<Self, LogsError> {
        let sets = [
            ("all rows", Repeats::All),
            ("first of each trial", Repeats::First),
        ]
        .map(|(rows, repeats)| ComparedSet::new(index, sources, rows, repeats));
        let flips = criteria
            .iter()
            .map(|criterion| {
                let [first, second] = sources;
                Ok(Flips::new(
                    criterion.name(),
                    &criterion.findings(index, first, Repeats::First)?,
                    &criterion.findings(index, second, Repeats::First)?,
                ))
            })
            .collect::<Result<_, LogsError>>()?;
        Ok(Self {
            parsers: parsers.map(ParserIdentity::of),
            kept: "the first in the order of files and rows",
            sets: sets.to_vec(),
            treatments: compared_treatments(index, sources),
            flips,
        })
    }
}

fn compared_treatments(index: &TrialIndex, sources: [usize; 2]) -> Vec<ComparedTreatment> {
    let mut counts: BTreeMap<Treatment, Vec<[u64; 2]>> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        let of_treatment = counts
            .entry(cell.treatment())
            .or_insert_with(|| vec![[0; 2]; index.labels().len()]);
        for row in index.rows_of(number) {
            if index.trials()[row].is_repeat() {
                continue;
            }
            for (parser, source) in sources.into_iter().enumerate() {
                of_treatment[usize::from(index.outcome(row, source).label())][parser] += 1;
            }
        }
    }
    counts
        .into_iter()
        .map(|(treatment, counts)| ComparedTreatment {
            treatment: treatment.to_string(),
            responses: counts.iter().map(|[first, _]| first).sum(),
            outcomes: index
                .labels()
                .iter()
                .zip(counts)
                .filter(|(_, counts)| *counts != [0; 2])
                .map(|(label, counts)| (label.clone(), counts))
                .collect(),
        })
        .collect()
}

impl ComparedSet {
    fn new(index: &TrialIndex, sources: [usize; 2], rows: &'static str, repeats: Repeats) -> Self {
        let all = index.labels().len();
        let mut counts = vec![vec![0_u64; all]; all];
        let (mut both_bet, mut same_amount) = (0, 0);
        for (row, trial) in index.trials().iter().enumerate() {
            // Every attempt has a response of its own, so retries count here.
            let counts_here = repeats == Repeats::All || !trial.is_repeat();
            if !counts_here {
                continue;
            }
            let [first, second] = sources.map(|source| index.outcome(row, source));
            counts[usize::from(first.label())][usize::from(second.label())] += 1;
            if first.label() == crate::BET_LABEL && second.label() == crate::BET_LABEL {
                both_bet += 1;
                same_amount += u64::from(first.amount() == second.amount());
            }
        }
        let used: Vec<usize> = (0..all)
            .filter(|label| (0..all).any(|other| counts[*label][other] + counts[other][*label] > 0))
            .collect();
        let responses: u64 = counts.iter().flatten().sum();
        let agree: u64 = (0..all).map(|label| counts[label][label]).sum();
        let disagree = responses - agree;
        Self {
            rows,
            responses,
            disagree,
            disagree_share: if responses == 0 {
                0.0
            } else {
                disagree as f64 / responses as f64
            },
            labels: used.iter().map(|label| index.labels()[*label].clone()).collect(),
            confusion: used
                .iter()
                .map(|row| used.iter().map(|column| counts[*row][*column]).collect())
                .collect(),
            both_bet,
            same_amount,
        }
    }
}

impl Flips {
    fn new(criterion: String, first: &BTreeMap<String, bool>, second: &BTreeMap<String, bool>) -> Self {
        let found =
            |findings: &BTreeMap<String, bool>| findings.values().filter(|found| **found).count() as u64;
        let only = |one: &BTreeMap<String, bool>, other: &BTreeMap<String, bool>| -> Vec<String> {
            one.iter()
                .filter(|(name, found)| **found && !other.get(*name).is_some_and(|found| *found))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let (only_first, only_second) = (only(first, second), only(second, first));
        let kept = |names: &[String]| names.iter().take(KEPT_NAMES).cloned().collect();
        Self {
            criterion,
            tested: first.keys().filter(|name| second.contains_key(*name)).count() as u64,
            first: found(first),
            second: found(second),
            both: found(first) - only_first.len() as u64,
            flipped: (only_first.len() + only_second.len()) as u64,
            only_first: kept(&only_first),
            only_second: kept(&only_second),
        }
    }
}
