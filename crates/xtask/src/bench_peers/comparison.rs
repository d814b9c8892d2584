//! Whether both sides computed the same thing.

use anyhow::{Result, ensure};
use glassbox_model::generate::Generated;

use crate::bench_peers::peer::Tensor;

/// Below this difference of the two largest logits, rounding decides between two tokens.
const NEAR_TIE: f32 = 1e-4;

/// Largest absolute difference.
///
/// # Errors
/// If the lengths differ, or the difference is above `tolerance` (or not a number).
pub fn close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) -> Result<f32> {
    ensure!(
        ours.len() == theirs.len(),
        "{what}: glassbox has {} values, the peer {}",
        ours.len(),
        theirs.len()
    );
    let mut largest = 0.0_f32;
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let difference = (a - b).abs();
        ensure!(
            difference <= tolerance,
            "{what}: value {i} is {a} in glassbox and {b} in the peer, more than {tolerance} apart"
        );
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// Largest difference over the largest value of the peer.
///
/// # Errors
/// As [`close`], with a tolerance relative to the largest value.
pub fn close_in_scale(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) -> Result<f32> {
    let scale = theirs.iter().fold(0.0_f32, |scale, value| scale.max(value.abs()));
    ensure!(scale > 0.0, "{what}: the peer has only zeros");
    Ok(close(what, ours, theirs, tolerance * scale)? / scale)
}

/// How the tokens of all rows agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Tokens of each row that agree before the first difference.
    pub same: Vec<usize>,
    /// Rows that differ from some token on, at a near tie.
    pub near_ties: usize,
}

impl Agreement {
    /// In words.
    pub fn describe(&self) -> String {
        let tokens: usize = self.same.iter().sum();
        match self.near_ties {
            0 => format!("{tokens} greedy tokens equal"),
            n => format!(
                "{tokens} greedy tokens equal; {n} rows leave each other at a near tie (margin below {NEAR_TIE})"
            ),
        }
    }
}

/// Compares greedy tokens with the peer's [rows, new tokens]. The rows must carry their two largest logits.
///
/// # Errors
/// If a row differs where the choice was clear.
pub fn same_tokens(ours: &[Generated], theirs: &Tensor) -> Result<Agreement> {
    let width = theirs.shape.last().copied().unwrap_or(0);
    ensure!(
        width > 0 && theirs.values.len() == ours.len() * width,
        "glassbox generated {} rows, the peer {:?}",
        ours.len(),
        theirs.shape
    );
    let mut agreement = Agreement {
        same: Vec::with_capacity(ours.len()),
        near_ties: 0,
    };
    for (row, (ours, theirs)) in ours.iter().zip(theirs.values.chunks(width)).enumerate() {
        ensure!(
            ours.tokens.len() == width,
            "row {row}: glassbox generated {} tokens, the peer {width}",
            ours.tokens.len()
        );
        let same = ours
            .tokens
            .iter()
            .zip(theirs)
            .take_while(|(a, b)| **a as f32 == **b)
            .count();
        agreement.same.push(same);
        if same < width {
            let margin = ours.top_logits.get(same).and_then(|top| match top.values[..] {
                [first, second, ..] => Some(first - second),
                _ => None,
            });
            ensure!(
                margin.is_some_and(|margin| margin < NEAR_TIE),
                "row {row}: token {same} is {} in glassbox and {} in the peer, and no near tie (margin {margin:?})",
                ours.tokens[same],
                theirs[same]
            );
            agreement.near_ties += 1;
        }
    }
    Ok(agreement)
}

#[cfg(test)]
mod tests {
    use glassbox_kernels::backend::TopEntries;
    use glassbox_model::generate::StopReason;

    use super::*;

    fn row(tokens: &[u32], margin: f32) -> Generated {
        Generated {
            tokens: tokens.to_vec(),
            stop: StopReason::MaxNewTokens,
            top_logits: tokens
                .iter()
                .map(|&token| TopEntries {
                    indices: vec![token, 0],
                    values: vec![1.0, 1.0 - margin],
                })
                .collect(),
        }
    }

    fn tokens(rows: usize, values: &[f32]) -> Tensor {
        Tensor {
            shape: vec![rows, values.len() / rows],
            values: values.to_vec(),
        }
    }

    #[test]
    fn a_difference_is_allowed_at_a_near_tie_only() {
        let peer = tokens(2, &[5.0, 6.0, 7.0, 8.0]);
        let agreement = same_tokens(&[row(&[5, 6], 0.1), row(&[7, 9], 1e-5)], &peer).unwrap();
        assert_eq!((agreement.same, agreement.near_ties), (vec![2, 1], 1));
        let error = same_tokens(&[row(&[5, 6], 0.1), row(&[7, 9], 0.1)], &peer).unwrap_err();
        assert!(error.to_string().contains("row 1: token 1"), "{error}");
        assert!(same_tokens(&[row(&[5], 0.1), row(&[7], 0.1)], &peer).is_err());
    }

    #[test]
    fn what_is_not_close_is_named() {
        assert_eq!(close("x", &[1.0, 2.0], &[1.0, 2.5], 0.5).unwrap(), 0.5);
        let error = close("x", &[1.0, f32::NAN], &[1.0, 2.0], 0.5).unwrap_err();
        assert!(error.to_string().contains("value 1"), "{error}");
        assert!(close("x", &[1.0], &[1.0, 2.0], 0.5).is_err());
        assert!(close_in_scale("x", &[100.0], &[100.1], 1e-2).is_ok());
        assert!(close_in_scale("x", &[100.0], &[102.0], 1e-2).is_err());
        assert!(close_in_scale("x", &[0.0], &[0.0], 1e-2).is_err());
    }
}
