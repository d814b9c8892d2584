//! Whether the contexts of a feature have something in common that contexts of features at random do not.
//!
//! **Score.** Of a feature's top contexts (texts once), let C(o) be the chance that two of them have the same token at offset o
//! from the peak, for o from −5 to +5. The statistic is T = max over o of C(o). A context that does not reach so far agrees with none.
//!
//! **Control.** The same statistic of as many contexts that belong to features drawn at random, one of each: what peaks of any features
//! have in common (frequent tokens, a template of the corpus). The score is (T − E₀) / (1 − E₀), E₀ the control's mean: 0 as for
//! contexts at random, 1 where all agree. p is the share of controls that reach T, with one added; q is p by Benjamini and Hochberg
//! over all features judged. A feature counts as interpretable where q < 0.05 and the score is at least 0.2.
//!
//! The score sees agreement of tokens near the peak. A feature of a topic or a mood has little of it and is missed; it is a lower bound.

use glassbox_stats::benjamini_hochberg;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::census::Context;
use crate::census::priority::priority;
use crate::error::Result;

/// Offsets from the peak on both sides.
pub const REACH: i64 = 5;
/// Fewest contexts that a feature is judged by.
pub const FEWEST: usize = 5;
/// Controls drawn.
const CONTROLS: usize = 4000;
/// q below this, and a score of at least [`LEAST_SCORE`], make a feature interpretable.
pub const MOST_Q: f64 = 0.05;
/// See [`MOST_Q`].
pub const LEAST_SCORE: f64 = 0.2;
/// Stream of the random numbers of controls.
const CONTROL_STREAM: u64 = u64::MAX;

/// The judgement of one feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// The largest agreement of two contexts at one offset, T.
    pub agreement: f64,
    /// The offset where it is.
    pub offset: i32,
    /// The control's mean, E₀.
    pub control: f64,
    /// (T − E₀) / (1 − E₀).
    pub score: f64,
    /// Share of controls that reach T.
    pub p: f64,
    /// p adjusted over all features judged.
    pub q: f64,
    /// q < 0.05 and score ≥ 0.2.
    pub interpretable: bool,
}

/// Tokens of a context by offset; `None` beyond its ends.
type Window = [Option<u32>; (2 * REACH + 1) as usize];

fn window(context: &Context) -> Window {
    std::array::from_fn(|i| {
        let at = i64::from(context.peak) + i as i64 - REACH;
        usize::try_from(at)
            .ok()
            .and_then(|at| context.tokens.get(at).copied())
    })
}

/// T and the offset where it is; of equals the one nearest to the peak, then the earlier.
fn statistic(windows: &[Window], scratch: &mut Vec<u32>) -> (f64, i32) {
    let n = windows.len() as f64;
    let mut best = (0.0, 0);
    let mut offsets: Vec<i64> = (-REACH..=REACH).collect();
    offsets.sort_by_key(|offset| (offset.abs(), *offset));
    for offset in offsets {
        scratch.clear();
        scratch.extend(windows.iter().filter_map(|w| w[(offset + REACH) as usize]));
        scratch.sort_unstable();
        let pairs: f64 = scratch
            .chunk_by(|a, b| a == b)
            .map(|same| same.len() as f64 * (same.len() as f64 - 1.0))
            .sum();
        let agreement = pairs / (n * (n - 1.0));
        if agreement > best.0 {
            best = (agreement, offset as i32);
        }
    }
    best
}

/// Judges features by their top contexts; `None` for features with fewer than [`FEWEST`].
///
/// # Errors
/// [`crate::InterpretationError::Statistics`], which would be an error of this program.
pub fn judge(contexts: &[&[Context]], seed: u64) -> Result<Vec<Option<Consistency>>> {
    let windows: Vec<Vec<Window>> = contexts
        .par_iter()
        .map(|contexts| contexts.iter().map(window).collect())
        .collect();
    let judged: Vec<usize> = (0..windows.len())
        .filter(|feature| windows[*feature].len() >= FEWEST)
        .collect();
    let most = judged
        .iter()
        .map(|feature| windows[*feature].len())
        .max()
        .unwrap_or(0);
    let controls = controls(&windows, &judged, most, seed);
    let found: Vec<(f64, i32, f64, f64)> = judged
        .par_iter()
        .map_init(Vec::new, |scratch, feature| {
            let windows = &windows[*feature];
            let (agreement, offset) = statistic(windows, scratch);
            let controls = &controls[windows.len()];
            let reached = controls.partition_point(|control| *control < agreement - 1e-12);
            let p = (1.0 + (controls.len() - reached) as f64) / (1.0 + controls.len() as f64);
            let mean = controls.iter().sum::<f64>() / (controls.len() as f64).max(1.0);
            (agreement, offset, mean, p)
        })
        .collect();
    let p: Vec<f64> = found.iter().map(|found| found.3).collect();
    let q = benjamini_hochberg(&p)?;
    let mut judgements = vec![None; windows.len()];
    for ((feature, (agreement, offset, control, p)), q) in judged.iter().zip(found).zip(q) {
        let score = if control < 1.0 {
            (agreement - control) / (1.0 - control)
        } else {
            0.0
        };
        judgements[*feature] = Some(Consistency {
            agreement,
            offset,
            control,
            score,
            p,
            q,
            interpretable: q < MOST_Q && score >= LEAST_SCORE,
        });
    }
    Ok(judgements)
}

/// Statistics of controls by their number of contexts [most + 1], each list sorted.
fn controls(windows: &[Vec<Window>], judged: &[usize], most: usize, seed: u64) -> Vec<Vec<f64>> {
    let draws: Vec<Vec<(usize, f64)>> = (0..CONTROLS as u64)
        .into_par_iter()
        .map_init(Vec::new, |scratch, draw| {
            let mut drawn: Vec<Window> = Vec::with_capacity(most);
            let mut used: Vec<usize> = Vec::with_capacity(most);
            let mut found = Vec::new();
            let mut counter = draw * 1_000_003;
            let mut random = |bound: usize| {
                counter += 1;
                ((u128::from(priority(seed, CONTROL_STREAM, counter)) * bound as u128) >> 64) as usize
            };
            while drawn.len() < most {
                let place = random(judged.len());
                // One context per feature as long as there are features that were not drawn.
                if judged.len() > most && used.contains(&place) {
                    continue;
                }
                used.push(place);
                let of_feature = &windows[judged[place]];
                drawn.push(of_feature[random(of_feature.len())]);
                if drawn.len() >= FEWEST {
                    found.push((drawn.len(), statistic(&drawn, scratch).0));
                }
            }
            found
        })
        .collect();
    let mut by_count = vec![Vec::with_capacity(CONTROLS); most + 1];
    for (count, value) in draws.into_iter().flatten() {
        by_count[count].push(value);
    }
    by_count
        .iter_mut()
        .for_each(|values: &mut Vec<f64>| values.sort_unstable_by(f64::total_cmp));
    by_count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(feature: u64, of_token: Option<u32>) -> Vec<Context> {
        (0..20)
            .map(|i| {
                let random = |place: u64| (priority(feature, i, place) % 50) as u32;
                let mut tokens: Vec<u32> = (0..11).map(random).collect();
                if let Some(token) = of_token {
                    tokens[3] = token;
                }
                Context {
                    document: i,
                    token_number: i,
                    peak: 5,
                    activation: 1.0,
                    activations: vec![0.0; tokens.len()],
                    tokens,
                }
            })
            .collect()
    }

    #[test]
    fn features_of_a_token_pass_and_features_at_random_do_not() {
        let lists: Vec<Vec<Context>> = (0..200)
            .map(|feature| contexts(feature, (feature < 20).then_some(feature as u32 + 100)))
            .collect();
        let slices: Vec<&[Context]> = lists.iter().map(Vec::as_slice).collect();
        let found = judge(&slices, 0).unwrap();
        for (feature, judgement) in found.iter().enumerate() {
            let judgement = judgement.unwrap();
            assert_eq!(judgement.interpretable, feature < 20, "{feature}: {judgement:?}");
            if feature < 20 {
                assert_eq!((judgement.agreement, judgement.offset), (1.0, -2));
                assert!((judgement.score - 1.0).abs() < 1e-12);
            }
        }
        assert_eq!(found, judge(&slices, 0).unwrap());
    }

    #[test]
    fn what_all_features_share_is_no_evidence() {
        // Every peak of every feature follows the same token.
        let lists: Vec<Vec<Context>> = (0..100).map(|feature| contexts(feature, Some(7))).collect();
        let slices: Vec<&[Context]> = lists.iter().map(Vec::as_slice).collect();
        let found = judge(&slices, 0).unwrap();
        assert!(found.iter().flatten().all(|judgement| !judgement.interpretable));
    }

    #[test]
    fn few_contexts_are_not_judged() {
        let list = contexts(1, None);
        assert_eq!(judge(&[&list[..FEWEST - 1], &[]], 0).unwrap(), [None, None]);
    }
}
