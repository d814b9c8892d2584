//! Thresholds of features that the common threshold silences.

use anyhow::Result;

use crate::dictionary::weights::Dictionary;

/// Lowers the threshold of every feature that fires on fewer than `share` of the rows `x` [n, d_model], so that it fires on
/// that share, its largest positive pre-activations. Other thresholds stay. Returns how many were lowered.
///
/// A batch-wise choice of the k largest leaves rare features below any common threshold, although the auxiliary loss
/// has taught them what is still unexplained where they respond most.
///
/// # Errors
/// If encoding fails.
pub fn calibrate_thresholds(dictionary: &mut Dictionary, x: &[f32], share: f64) -> Result<usize> {
    let (d, features) = (dictionary.d_model, dictionary.features);
    let wanted = ((x.len() / d) as f64 * share).ceil() as usize;
    // The largest positive pre-activations of each feature, one more than wanted: the last is the threshold.
    let mut largest: Vec<Vec<f32>> = vec![Vec::with_capacity(2 * wanted + 2); features];
    let mut scores = Vec::new();
    for x in x.chunks(1024 * d) {
        dictionary.scores(&mut scores, x)?;
        for row in scores.chunks_exact(features) {
            for (kept, &score) in largest.iter_mut().zip(row).filter(|(_, score)| **score > 0.0) {
                kept.push(score);
                if kept.len() > 2 * wanted {
                    keep_largest(kept, wanted + 1);
                }
            }
        }
    }
    let mut lowered = 0;
    for (threshold, kept) in dictionary.threshold.iter_mut().zip(&mut largest) {
        keep_largest(kept, wanted + 1);
        let firing = kept.iter().filter(|score| **score > *threshold).count();
        if firing >= wanted {
            continue;
        }
        let lower = if kept.len() > wanted {
            kept.iter().copied().fold(f32::INFINITY, f32::min)
        } else {
            0.0
        };
        if lower < *threshold {
            *threshold = lower;
            lowered += 1;
        }
    }
    Ok(lowered)
}

fn keep_largest(values: &mut Vec<f32>, count: usize) {
    if values.len() > count {
        values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        values.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_features_fire_on_their_share_and_others_are_left_alone() {
        let mut dictionary = Dictionary {
            d_model: 1,
            features: 3,
            encoder: vec![1.0, 0.1, -1.0],
            encoder_bias: vec![0.0; 3],
            decoder: vec![1.0, 1.0, -1.0],
            decoder_bias: vec![0.0],
            threshold: vec![50.0; 3],
        };
        let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
        assert_eq!(calibrate_thresholds(&mut dictionary, &x, 0.1).unwrap(), 2);
        assert_eq!(dictionary.threshold[0], 50.0);
        let firing = (0..100)
            .filter(|&i| 0.1 * i as f32 > dictionary.threshold[1])
            .count();
        assert_eq!(firing, 10);
        // Never positive: as low as it can be, and still silent.
        assert_eq!(dictionary.threshold[2], 0.0);
    }
}
