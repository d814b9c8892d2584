//! The whole analysis of words.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::outcomes::SourceName;
use crate::unread::unread;
use crate::{EffectsError, Family, Measure, RepeatCounts, Verdict, WordReader};

use super::word_cells::WordCells;
use super::word_comparison::WordComparison;
use super::word_grid::{GridAxes, WordGrid, word_grids};
use super::word_groups::WordGroups;
use super::word_presence::{PresenceRow, presence};
use super::word_reader::WordForm;
use super::word_row::LogWordRow;
use super::word_settings::{WordMethod, WordSettings};
use super::word_study::study_words;
use super::word_tests::test_words;
use super::word_views::{WordView, views};

/// How many words of one comparison stand out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonCount {
    /// What is compared.
    pub comparison: String,
    /// Tests made: features × prompts × words. 0 by the study's method, which counts none.
    pub tests: usize,
    /// Words that stand out.
    pub found: usize,
    /// Features with at least one of them.
    pub features: usize,
}

/// The whole analysis of words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordsAnalysis {
    /// Whether the value of some feature changes words.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// What counts as a word.
    pub pattern: String,
    /// The form under which words are counted.
    pub form: WordForm,
    /// How words are compared.
    pub settings: WordSettings,
    /// Responses that count.
    pub responses: u64,
    /// Different words.
    pub vocabulary: usize,
    /// What became of repeated trials.
    pub repeats: RepeatCounts,
    /// Rows that could not be used.
    pub unusable_rows: u64,
    /// What could not be read.
    pub cautions: Vec<String>,
    /// The comparisons.
    pub comparisons: Vec<ComparisonCount>,
    /// The families of tests.
    pub families: Vec<Family>,
    /// Words that stand out, and the most distinct ones of every feature.
    pub rows: Vec<LogWordRow>,
    /// The most distinct words and features, by comparison and kind of prompt; none by the study's method.
    pub grids: Vec<WordGrid>,
    /// The outcome that presence is set against.
    pub presence_outcome: String,
    /// Where outcomes came from.
    pub outcomes: SourceName,
    /// Words against that outcome, those with the smallest p first.
    pub presence: Vec<PresenceRow>,
    /// The most characteristic words of every condition.
    pub views: Vec<WordView>,
}

/// Compares the words of all features. `top` words of every feature, condition and list are kept besides those that stand out.
///
/// # Errors
/// [`EffectsError::Stats`] if a statistic refuses its input.
pub fn analyse_words(
    cells: &WordCells,
    reader: &WordReader,
    measure: &Measure,
    settings: &WordSettings,
    top: usize,
) -> Result<WordsAnalysis, EffectsError> {
    let groups = WordGroups::of(cells);
    let mut rows = Vec::new();
    let mut families = Vec::new();
    let mut comparisons = Vec::new();
    let mut grids = Vec::new();
    // The first comparison that the data have chooses what all grids show.
    let mut axes: Option<GridAxes> = None;
    for comparison in WordComparison::ALL {
        let name = comparison.name(groups.reference());
        let (of_comparison, tests, found) = match settings.method {
            WordMethod::LogOdds => {
                let tested = test_words(&groups, comparison, settings)?;
                let Some(family) = tested.family(&name)? else {
                    continue;
                };
                let tests = family.tests;
                families.push(family);
                let axes = axes.get_or_insert_with(|| GridAxes::of(&tested));
                grids.extend(word_grids(&tested, axes, cells, &groups, settings)?);
                let rows = tested.rows(cells, &groups, settings, top)?;
                (rows, tests, tested.found(settings.alpha))
            }
            WordMethod::Study => {
                let listed = study_words(cells, &groups, comparison)?;
                let found = listed.len();
                if listed.is_empty() {
                    continue;
                }
                (listed, 0, found)
            }
        };
        let mut features: Vec<(u32, u32)> = of_comparison
            .iter()
            .filter(|row| row.q.is_none_or(|q| q <= settings.alpha))
            .map(|row| (row.layer, row.feature))
            .collect();
        features.sort_unstable();
        features.dedup();
        comparisons.push(ComparisonCount {
            comparison: name,
            tests,
            found,
            features: features.len(),
        });
        rows.extend(of_comparison);
    }
    let mut against = presence(cells, settings.fewest_responses)?;
    let shown = against.iter().filter(|row| row.q <= settings.alpha).count();
    against.truncate(shown.max(top));
    let (verdict, words) = judge(&comparisons, &rows, settings);
    Ok(WordsAnalysis {
        verdict,
        words,
        pattern: reader.pattern().name().to_owned(),
        form: reader.form(),
        settings: *settings,
        responses: cells.responses(),
        vocabulary: cells.words.len(),
        repeats: cells.repeats.clone(),
        unusable_rows: cells.report.unusable(),
        cautions: unread(&cells.report),
        comparisons,
        families,
        rows,
        grids,
        presence_outcome: measure.to_string(),
        outcomes: cells.source.clone(),
        presence: against,
        views: views(cells, top.max(1)),
    })
}

fn judge(comparisons: &[ComparisonCount], rows: &[LogWordRow], settings: &WordSettings) -> (Verdict, String) {
    if settings.method == WordMethod::Study {
        let found: usize = comparisons.iter().map(|own| own.found).sum();
        let words = format!(
            "By the study's method {found} words are listed. It takes the words of one response as independent and corrects for nothing: \
             its lists are to be checked, not believed."
        );
        return (Verdict::CannotTell, words);
    }
    let specific = |own: &&ComparisonCount| {
        own.comparison == WordComparison::ValueVsValue.name(None)
            || own.comparison == WordComparison::HighVsLowDoses.name(None)
    };
    let names = |comparison: &str| {
        let mut best: Vec<&LogWordRow> = rows
            .iter()
            .filter(|row| row.comparison == comparison && row.q.is_some_and(|q| q <= settings.alpha))
            .collect();
        best.sort_by(|a, b| a.p.total_cmp(&b.p));
        let list: Vec<String> = best
            .iter()
            .take(5)
            .map(|row| {
                let sign = if row.change == "added" { '+' } else { '\u{2212}' };
                format!(
                    "L{}-{} {sign}{} ({})",
                    row.layer, row.feature, row.word, row.prompt
                )
            })
            .collect();
        let more = if best.len() > 5 { ", …" } else { "" };
        format!("{}{more}", list.join(", "))
    };
    if let Some(own) = comparisons.iter().filter(specific).find(|own| own.found > 0) {
        let words = format!(
            "{} words change by the value of {} features, {} (q ≤ {}, {} tests): {}.",
            own.found,
            own.features,
            own.comparison,
            settings.alpha,
            own.tests,
            names(&own.comparison)
        );
        return (Verdict::SpecificEffect, words);
    }
    let tests: usize = comparisons.iter().filter(specific).map(|own| own.tests).sum();
    let shared = shared_changes(rows, settings.alpha);
    let against: usize = comparisons.iter().map(|own| own.found).sum();
    if tests > 0 && !shared.is_empty() {
        let list: Vec<String> = shared
            .iter()
            .take(5)
            .map(|(word, features)| format!("{word} ({features} features)"))
            .collect();
        let more = if shared.len() > 5 { ", …" } else { "" };
        let words = format!(
            "No word changes by the value of a feature ({tests} tests), while both values change the same words alike against the reference: \
             {}{more}. Intervening changes what is said; the value does not, as far as these tests see.",
            list.join(", ")
        );
        return (Verdict::SharedShiftOnly, words);
    }
    let words = if comparisons.is_empty() {
        "No feature's responses can be compared: trials under two values, two sides of doses, or a baseline are needed.".to_owned()
    } else if tests == 0 {
        format!(
            "{against} words differ from the reference, but no feature was set to two values: whether the value matters cannot be told."
        )
    } else {
        format!(
            "No word stands out by the value of a feature in {tests} tests (q ≤ {}), and none changes alike under both values. That no word \
             can be named does not show that none changes.",
            settings.alpha
        )
    };
    (Verdict::CannotTell, words)
}

/// Words that both values change alike against the reference, for the same feature and prompt: with how many features do, the most
/// common first.
fn shared_changes(rows: &[LogWordRow], alpha: f64) -> Vec<(&str, usize)> {
    let found = |prefix: &str| -> BTreeSet<(u32, u32, &str, &str, &str)> {
        rows.iter()
            .filter(|row| row.comparison.starts_with(prefix) && row.q.is_some_and(|q| q <= alpha))
            .map(|row| {
                (
                    row.layer,
                    row.feature,
                    row.prompt.as_str(),
                    row.word.as_str(),
                    row.change.as_str(),
                )
            })
            .collect()
    };
    let (under_a, under_b) = (found("value_a_vs_"), found("value_b_vs_"));
    let mut words: BTreeMap<&str, BTreeSet<(u32, u32)>> = BTreeMap::new();
    for (layer, feature, _, word, _) in under_a.intersection(&under_b) {
        words.entry(word).or_default().insert((*layer, *feature));
    }
    let mut words: Vec<(&str, usize)> = words
        .into_iter()
        .map(|(word, features)| (word, features.len()))
        .collect();
    words.sort_by_key(|(_, features)| std::cmp::Reverse(*features));
    words
}
