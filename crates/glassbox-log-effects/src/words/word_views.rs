//! The most characteristic words of every condition, by frequency and by TF-IDF.

use std::collections::BTreeMap;

use serde::Serialize;

use super::word_cells::WordCells;
use super::word_groups::{SummedWord, WordSum, kind_of};

/// A word of a condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordShare {
    /// The word.
    pub word: String,
    /// Responses of the condition that have it.
    pub responses: u64,
    /// As a share of its responses.
    pub response_share: f64,
    /// As a share of all words said.
    pub frequency: f64,
    /// Frequency times inverse document frequency, ln((1 + N)/(1 + n)) + 1 with N all responses of the logs and n those that have the
    /// word (scikit-learn's smooth form).
    pub tf_idf: f64,
}

/// The most characteristic words of one condition, all features together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordView {
    /// Kind of prompt.
    pub prompt: String,
    /// Arm.
    pub arm: String,
    /// Responses.
    pub responses: u64,
    /// Words that most of its responses have.
    pub by_responses: Vec<WordShare>,
    /// Words of the largest TF-IDF.
    pub by_tf_idf: Vec<WordShare>,
}

/// The `top` words of every condition; doses of one prompt count as one condition.
pub(crate) fn views(cells: &WordCells, top: usize) -> Vec<WordView> {
    let mut conditions: BTreeMap<(&str, &str), WordSum> = BTreeMap::new();
    let mut with_word = vec![0_u64; cells.words.len()];
    let mut all = 0;
    for (key, cell) in &cells.cells {
        conditions
            .entry((kind_of(&key.prompt), key.arm.name()))
            .or_default()
            .add(cell);
        all += cell.responses;
        for count in &cell.counts {
            with_word[count.word as usize] += u64::from(count.responses);
        }
    }
    conditions
        .into_iter()
        .map(|((prompt, arm), sum)| {
            let mut shares: Vec<WordShare> = sum
                .counts
                .iter()
                .map(
                    |&SummedWord {
                         word,
                         responses,
                         tokens,
                     }| {
                        let frequency = tokens as f64 / sum.tokens.max(1) as f64;
                        let idf = ((1 + all) as f64 / (1 + with_word[word as usize]) as f64).ln() + 1.0;
                        WordShare {
                            word: cells.words[word as usize].clone(),
                            responses,
                            response_share: responses as f64 / sum.responses.max(1) as f64,
                            frequency,
                            tf_idf: frequency * idf,
                        }
                    },
                )
                .collect();
            // Words are in alphabetical order, which a stable sort keeps among equals.
            shares.sort_by_key(|share| std::cmp::Reverse(share.responses));
            let by_responses = shares.iter().take(top).cloned().collect();
            shares.sort_by(|a, b| b.tf_idf.total_cmp(&a.tf_idf).then_with(|| a.word.cmp(&b.word)));
            shares.truncate(top);
            WordView {
                prompt: prompt.to_owned(),
                arm: arm.to_owned(),
                responses: sum.responses,
                by_responses,
                by_tf_idf: shares,
            }
        })
        .collect()
}
