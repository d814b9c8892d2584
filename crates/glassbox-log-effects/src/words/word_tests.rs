//! Every word of every comparison, tested.

use glassbox_logs::FeatureId;
use glassbox_stats::{
    Confidence, Proportion, TwoByTwo, WordCount, WordPrior, Yates, benjamini_hochberg, chi_square_test,
    dirichlet_log_odds_ratio, fisher_exact,
};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::{EffectsError, Family};

use super::word_cells::WordCells;
use super::word_comparison::WordComparison;
use super::word_groups::{FeatureWords, WordGroups};
use super::word_row::LogWordRow;
use super::word_settings::WordSettings;

/// Below this p value of the score test Fisher's test is made. Above it no test decides anything, and there are millions of them.
const EXACT_BELOW: f64 = 0.2;

/// p values of tables that were tested: most tables come many times.
type KnownTables = FxHashMap<[u64; 4], f64>;

/// One tested word, small: a log has millions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordTest {
    pub(super) feature: FeatureId,
    /// Index of the kind of prompt.
    pub(super) kind: u16,
    pub(super) word: u32,
    /// Responses with the word, and responses, of the first and of the second.
    first: [u32; 2],
    second: [u32; 2],
    pub(super) p: f64,
    pub(super) q: f64,
}

/// All tested words of one comparison.
pub(crate) struct TestedWords<'g> {
    pub(crate) comparison: WordComparison,
    kinds: Vec<&'g str>,
    pub(super) tests: Vec<WordTest>,
}

/// Tests all words of a comparison; one family over all features, kinds of prompts and words.
pub(crate) fn test_words<'g>(
    groups: &'g WordGroups<'_>,
    comparison: WordComparison,
    settings: &WordSettings,
) -> Result<TestedWords<'g>, EffectsError> {
    let kinds: Vec<&str> = groups.background.keys().copied().collect();
    let features: Vec<_> = groups.features.iter().collect();
    let per_feature: Vec<Vec<WordTest>> = features
        .into_par_iter()
        .map_init(KnownTables::default, |known, ((feature, kind), own)| {
            let number = kinds.iter().position(|known| known == kind).unwrap_or_default() as u16;
            test_feature(groups, comparison, *feature, (kind, number), own, settings, known)
        })
        .collect::<Result<_, EffectsError>>()?;
    let mut tests = per_feature.concat();
    let p: Vec<f64> = tests.iter().map(|test| test.p).collect();
    let q = benjamini_hochberg(&p).map_err(EffectsError::stats("the family of words"))?;
    for (test, q) in tests.iter_mut().zip(q) {
        test.q = q;
    }
    Ok(TestedWords {
        comparison,
        kinds,
        tests,
    })
}

fn test_feature<'c>(
    groups: &WordGroups<'c>,
    comparison: WordComparison,
    feature: FeatureId,
    (kind, number): (&'c str, u16),
    own: &FeatureWords<'_>,
    settings: &WordSettings,
    known: &mut KnownTables,
) -> Result<Vec<WordTest>, EffectsError> {
    let Some((first, second)) = groups.sides(comparison, feature, kind, own, settings.baseline) else {
        return Ok(Vec::new());
    };
    let first = first.sum();
    let [n1, n2] = [first.responses, second.responses].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut tests = Vec::new();
    for (in_first, in_second) in first.with(&second) {
        let (with_1, with_2) = (in_first.responses, in_second.responses);
        let everywhere = with_1 == first.responses && with_2 == second.responses;
        if with_1 + with_2 < settings.fewest_responses || everywhere {
            continue;
        }
        let key = [with_1, first.responses, with_2, second.responses];
        let p = match known.get(&key) {
            Some(p) => *p,
            None => {
                let p = test_table(key)?;
                known.insert(key, p);
                p
            }
        };
        tests.push(WordTest {
            feature,
            kind: number,
            word: in_first.word,
            first: [with_1 as u32, n1],
            second: [with_2 as u32, n2],
            p,
            q: 1.0,
        });
    }
    Ok(tests)
}

/// The p value of responses with a word and responses, of the first and of the second.
fn test_table([with_1, n1, with_2, n2]: [u64; 4]) -> Result<f64, EffectsError> {
    let side = |with: u64, n: u64| Proportion::new(with, n).map_err(EffectsError::stats("a word's share"));
    let table =
        TwoByTwo::new(side(with_2, n2)?, side(with_1, n1)?).map_err(EffectsError::stats("a word's table"))?;
    let score = chi_square_test(&table, Yates::No).map_or(1.0, |test| test.test.p);
    Ok(if score < EXACT_BELOW {
        fisher_exact(&table).p
    } else {
        score
    })
}

impl TestedWords<'_> {
    pub(crate) fn family(&self, name: &str) -> Result<Option<Family>, EffectsError> {
        if self.tests.is_empty() {
            return Ok(None);
        }
        let p: Vec<f64> = self.tests.iter().map(|test| test.p).collect();
        let smallest = |of: &dyn Fn(&WordTest) -> f64| self.tests.iter().map(of).fold(1.0, f64::min);
        Ok(Some(Family {
            name: name.to_owned(),
            tests: self.tests.len(),
            uninformative: 0,
            pi0: glassbox_stats::storey_pi0(&p, 0.5).map_err(EffectsError::stats("the family of words"))?,
            smallest_p: smallest(&|test| test.p),
            smallest_q: smallest(&|test| test.q),
        }))
    }

    /// How many tests have q at or below alpha.
    pub(crate) fn found(&self, alpha: f64) -> usize {
        self.tests.iter().filter(|test| test.q <= alpha).count()
    }

    /// Rows of all words with q at or below alpha and of the `top` smallest p of each feature and kind of prompt.
    pub(crate) fn rows(
        &self,
        cells: &WordCells,
        groups: &WordGroups<'_>,
        settings: &WordSettings,
        top: usize,
    ) -> Result<Vec<LogWordRow>, EffectsError> {
        let name = self.comparison.name(groups.reference());
        let features: Vec<&[WordTest]> = self
            .tests
            .chunk_by(|a, b| (a.feature, a.kind) == (b.feature, b.kind))
            .collect();
        let rows: Vec<Vec<LogWordRow>> = features
            .into_par_iter()
            .map(|tests| {
                let mut order: Vec<&WordTest> = tests.iter().collect();
                order.sort_unstable_by(|a, b| a.p.total_cmp(&b.p).then(a.word.cmp(&b.word)));
                order
                    .into_iter()
                    .enumerate()
                    .filter(|(place, test)| *place < top || test.q <= settings.alpha)
                    .map(|(_, test)| self.row(test, &name, cells, groups, settings))
                    .collect()
            })
            .collect::<Result<_, EffectsError>>()?;
        Ok(rows.into_iter().flatten().collect())
    }

    pub(super) fn row(
        &self,
        test: &WordTest,
        name: &str,
        cells: &WordCells,
        groups: &WordGroups<'_>,
        settings: &WordSettings,
    ) -> Result<LogWordRow, EffectsError> {
        let kind = self.kinds[test.kind as usize];
        let background = &groups.background[kind];
        let failed = || EffectsError::stats("a word's log odds");
        let prior = WordPrior::from_background(
            WordCount {
                word: background.count(test.word).responses,
                total: background.responses,
            },
            settings.prior_responses,
        )
        .map_err(failed())?;
        let side = |[with, n]: [u32; 2]| WordCount {
            word: u64::from(with),
            total: u64::from(n),
        };
        let odds = dirichlet_log_odds_ratio(side(test.second), side(test.first), prior, Confidence::P95)
            .map_err(failed())?
            .map_err(|undefined| EffectsError::NoData {
                what: format!("the word '{}': {undefined}", cells.words[test.word as usize]),
            })?;
        let rate = |[with, n]: [u32; 2]| f64::from(with) / f64::from(n);
        Ok(LogWordRow {
            layer: test.feature.layer,
            feature: test.feature.feature,
            prompt: kind.to_owned(),
            comparison: name.to_owned(),
            study_name: self.comparison.study_name(kind).map(str::to_owned),
            word: cells.words[test.word as usize].clone(),
            change: if rate(test.second) >= rate(test.first) {
                "added"
            } else {
                "removed"
            }
            .to_owned(),
            n_1: u64::from(test.first[1]),
            n_2: u64::from(test.second[1]),
            responses_1: u64::from(test.first[0]),
            responses_2: u64::from(test.second[0]),
            log_odds: odds.estimate,
            ci_low: Some(odds.interval.lower),
            ci_high: Some(odds.interval.upper),
            z: Some(odds.z),
            p: test.p,
            q: Some(test.q),
        })
    }
}
