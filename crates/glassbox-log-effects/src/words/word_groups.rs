//! The words of each feature by prompt and arm, with those they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_logs::{Arm, FeatureId};

use crate::cell::CellKey;
use crate::tally::Ordered;
use crate::{BaselinePolicy, Reference};

use super::word_cells::{WordCell, WordCells};
use super::word_comparison::WordComparison;

/// One word in several cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SummedWord {
    pub(crate) word: u32,
    /// Responses that have it.
    pub(crate) responses: u64,
    /// How often it was said.
    pub(crate) tokens: u64,
}

/// The words of several cells together.
#[derive(Clone, Debug, Default)]
pub(crate) struct WordSum {
    pub(crate) responses: u64,
    pub(crate) tokens: u64,
    /// Each word once, rising.
    pub(crate) counts: Vec<SummedWord>,
}

impl WordSum {
    pub(crate) fn add(&mut self, cell: &WordCell) {
        self.responses += cell.responses;
        self.tokens += cell.tokens;
        let (mut place, known) = (0, self.counts.len());
        for count in &cell.counts {
            while place < known && self.counts[place].word < count.word {
                place += 1;
            }
            if place < known && self.counts[place].word == count.word {
                let sum = &mut self.counts[place];
                sum.responses += u64::from(count.responses);
                sum.tokens += u64::from(count.tokens);
            } else {
                self.counts.push(SummedWord {
                    word: count.word,
                    responses: u64::from(count.responses),
                    tokens: u64::from(count.tokens),
                });
            }
        }
        if self.counts.len() > known {
            self.counts.sort_unstable_by_key(|sum| sum.word);
        }
    }

    pub(crate) fn count(&self, word: u32) -> SummedWord {
        match self.counts.binary_search_by_key(&word, |sum| sum.word) {
            Ok(place) => self.counts[place],
            Err(_) => SummedWord {
                word,
                ..SummedWord::default()
            },
        }
    }

    /// The words of either sum in their order, with the counts of both.
    pub(crate) fn with<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = (SummedWord, SummedWord)> + 's {
        let (mut first, mut second) = (self.counts.iter().peekable(), other.counts.iter().peekable());
        std::iter::from_fn(move || {
            let word = match (first.peek(), second.peek()) {
                (Some(a), Some(b)) => a.word.min(b.word),
                (Some(one), None) | (None, Some(one)) => one.word,
                (None, None) => return None,
            };
            let absent = SummedWord {
                word,
                ..SummedWord::default()
            };
            let a = first.next_if(|sum| sum.word == word).copied().unwrap_or(absent);
            let b = second.next_if(|sum| sum.word == word).copied().unwrap_or(absent);
            Some((a, b))
        })
    }
}

/// The kind of a prompt: what stands before its identity.
pub(crate) fn kind_of(prompt: &str) -> &str {
    prompt.split_once('/').map_or(prompt, |(kind, _)| kind)
}

/// The responses of one feature to one kind of prompt.
#[derive(Debug, Default)]
pub(crate) struct FeatureWords<'c> {
    value_a: Vec<&'c WordCell>,
    value_b: Vec<&'c WordCell>,
    own_baseline: Vec<&'c WordCell>,
    doses: Vec<(f64, &'c WordCell)>,
}

/// All responses by feature and kind of prompt.
#[derive(Debug)]
pub(crate) struct WordGroups<'c> {
    pub(crate) features: BTreeMap<(FeatureId, &'c str), FeatureWords<'c>>,
    baseline: BTreeMap<&'c str, WordSum>,
    reconstruction: BTreeMap<(Option<u32>, &'c str), WordSum>,
    /// All responses to a kind of prompt, from which priors are taken.
    pub(crate) background: BTreeMap<&'c str, WordSum>,
    /// The middle of all doses.
    middle_dose: Option<f64>,
}

impl<'c> WordGroups<'c> {
    pub(crate) fn of(cells: &'c WordCells) -> Self {
        let doses: BTreeSet<Ordered> = cells
            .cells
            .keys()
            .filter(|key| key.arm == Arm::Dose)
            .filter_map(|key| key.scale().map(Ordered))
            .collect();
        let mut groups = Self {
            features: BTreeMap::new(),
            baseline: BTreeMap::new(),
            reconstruction: BTreeMap::new(),
            background: BTreeMap::new(),
            middle_dose: (doses.len() > 1)
                .then(|| crate::spread::median(doses.iter().map(|dose| dose.0).collect())),
        };
        for (key, cell) in &cells.cells {
            groups.add(key, cell);
        }
        groups
    }

    fn add(&mut self, key: &'c CellKey, cell: &'c WordCell) {
        let kind = kind_of(&key.prompt);
        self.background.entry(kind).or_default().add(cell);
        match (&key.arm, key.feature) {
            (Arm::Baseline, feature) => {
                self.baseline.entry(kind).or_default().add(cell);
                if let Some(feature) = feature {
                    self.features
                        .entry((feature, kind))
                        .or_default()
                        .own_baseline
                        .push(cell);
                }
            }
            (Arm::ReconstructOnly, feature) => {
                let block = feature.map(|feature| feature.layer);
                self.reconstruction.entry((block, kind)).or_default().add(cell);
            }
            (Arm::ValueA, Some(feature)) => {
                self.features
                    .entry((feature, kind))
                    .or_default()
                    .value_a
                    .push(cell);
            }
            (Arm::ValueB, Some(feature)) => {
                self.features
                    .entry((feature, kind))
                    .or_default()
                    .value_b
                    .push(cell);
            }
            (Arm::Dose, Some(feature)) => {
                if let Some(dose) = key.scale() {
                    self.features
                        .entry((feature, kind))
                        .or_default()
                        .doses
                        .push((dose, cell));
                }
            }
            _ => {}
        }
    }

    /// What values are compared with, if there is anything.
    pub(crate) fn reference(&self) -> Option<Reference> {
        if !self.reconstruction.is_empty() {
            Some(Reference::ReconstructOnly)
        } else if !self.baseline.is_empty() {
            Some(Reference::Baseline)
        } else {
            None
        }
    }

    /// First and second side of a comparison; `None` if one of them has no responses.
    pub(crate) fn sides(
        &self,
        comparison: WordComparison,
        feature: FeatureId,
        kind: &'c str,
        own: &FeatureWords<'_>,
        policy: BaselinePolicy,
    ) -> Option<(Side<'_>, WordSum)> {
        let sum = |cells: &[&WordCell]| {
            let mut sum = WordSum::default();
            cells.iter().for_each(|cell| sum.add(cell));
            sum
        };
        let doses = |holds: &dyn Fn(f64, f64) -> bool| {
            let middle = self.middle_dose?;
            let cells: Vec<&WordCell> = own
                .doses
                .iter()
                .filter(|(dose, _)| holds(*dose, middle))
                .map(|(_, cell)| *cell)
                .collect();
            Some(sum(&cells))
        };
        let (first, second) = match comparison {
            WordComparison::ValueVsValue => (Side::Own(sum(&own.value_a)), sum(&own.value_b)),
            WordComparison::ValueA => (
                self.reference_side(feature, kind, own, policy)?,
                sum(&own.value_a),
            ),
            WordComparison::ValueB => (
                self.reference_side(feature, kind, own, policy)?,
                sum(&own.value_b),
            ),
            WordComparison::HighVsLowDoses => (
                Side::Own(doses(&|dose, middle| dose < middle)?),
                doses(&|dose, middle| dose > middle)?,
            ),
        };
        (first.sum().responses > 0 && second.responses > 0).then_some((first, second))
    }

    fn reference_side(
        &self,
        feature: FeatureId,
        kind: &'c str,
        own: &FeatureWords<'_>,
        policy: BaselinePolicy,
    ) -> Option<Side<'_>> {
        let shared = match self.reference()? {
            Reference::ReconstructOnly => self
                .reconstruction
                .get(&(Some(feature.layer), kind))
                .or_else(|| self.reconstruction.get(&(None, kind))),
            Reference::Baseline if policy == BaselinePolicy::Own && !own.own_baseline.is_empty() => {
                let mut sum = WordSum::default();
                own.own_baseline.iter().for_each(|cell| sum.add(cell));
                return Some(Side::Own(sum));
            }
            Reference::Baseline => self.baseline.get(kind),
        };
        shared.map(Side::Shared)
    }
}

/// One side of a comparison: a feature's own responses, or those that all share.
pub(crate) enum Side<'g> {
    Own(WordSum),
    Shared(&'g WordSum),
}

impl Side<'_> {
    pub(crate) fn sum(&self) -> &WordSum {
        match self {
            Self::Own(sum) => sum,
            Self::Shared(sum) => sum,
        }
    }
}
