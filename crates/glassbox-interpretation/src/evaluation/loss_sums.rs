//! The model's next-token loss under several conditions, and how far its distribution moves.

use rayon::prelude::*;

/// Loss of one prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    /// −log p(next token), in nats.
    pub cross_entropy: f64,
    /// KL(reference ‖ this) over the vocabulary, in nats; 0 without a reference.
    pub divergence: f64,
}

/// Losses of rows of logits [n, vocab], and their divergence from reference logits of the same shape.
///
/// With l = logits − log Σ exp(logits): cross entropy −l[target], divergence Σ exp(r)·(r − l) for the reference's r. Sums run in
/// float64.
pub fn token_losses(
    logits: &[f32],
    reference: Option<&[f32]>,
    targets: &[u32],
    vocab: usize,
) -> Vec<TokenLoss> {
    targets
        .par_iter()
        .enumerate()
        .map(|(i, target)| {
            let row = &logits[i * vocab..(i + 1) * vocab];
            let log_sum = log_sum_exp(row);
            let cross_entropy = log_sum - f64::from(row[*target as usize]);
            let divergence = reference.map_or(0.0, |reference| {
                let reference = &reference[i * vocab..(i + 1) * vocab];
                let reference_sum = log_sum_exp(reference);
                let sum: f64 = row
                    .iter()
                    .zip(reference)
                    .map(|(l, r)| {
                        let r = f64::from(*r) - reference_sum;
                        r.exp() * (r - (f64::from(*l) - log_sum))
                    })
                    .sum();
                // Rounding can leave a divergence of equal distributions just below zero.
                sum.max(0.0)
            });
            TokenLoss {
                cross_entropy,
                divergence,
            }
        })
        .collect()
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
    largest + sum.ln()
}

/// Sums of losses over predictions, under the conditions that are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Predictions.
    pub predictions: u64,
    /// Σ loss of the model as it is.
    pub clean: f64,
    /// Σ loss with the reconstruction in place of the site's values.
    pub spliced: f64,
    /// Σ loss with zeros there.
    pub zero: f64,
    /// Σ loss with the site's mean there.
    pub mean: f64,
    /// Σ KL(clean ‖ spliced).
    pub divergence_spliced: f64,
    /// Σ KL(clean ‖ zero).
    pub divergence_zero: f64,
    /// Σ KL(clean ‖ mean).
    pub divergence_mean: f64,
}

impl LossSums {
    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        self.predictions += other.predictions;
        self.clean += other.clean;
        self.spliced += other.spliced;
        self.zero += other.zero;
        self.mean += other.mean;
        self.divergence_spliced += other.divergence_spliced;
        self.divergence_zero += other.divergence_zero;
        self.divergence_mean += other.divergence_mean;
    }

    /// (ablated − spliced) / (ablated − clean): 1 where splicing costs nothing, 0 where it is as bad as the ablation.
    /// `None` where the ablation costs nothing, so that there is nothing to recover.
    pub fn recovered(&self, ablated: f64) -> Option<f64> {
        let lost = ablated - self.clean;
        (lost > 0.0).then(|| (ablated - self.spliced) / lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_equal_the_definition() {
        let logits = [0.0_f32, (2.0_f32).ln(), 0.0, 5.0, 5.0, 5.0];
        let losses = token_losses(&logits, Some(&[0.0; 6]), &[1, 0], 3);
        assert!((losses[0].cross_entropy - 2.0_f64.ln()).abs() < 1e-7);
        // KL(uniform ‖ (1/4, 1/2, 1/4)) = ln(4/3)·2/3 + ln(2/3)/3.
        let expected = (2.0 * (4.0_f64 / 3.0).ln() + (2.0_f64 / 3.0).ln()) / 3.0;
        assert!((losses[0].divergence - expected).abs() < 1e-7);
        assert!((losses[1].cross_entropy - 3.0_f64.ln()).abs() < 1e-7 && losses[1].divergence < 1e-12);
    }

    #[test]
    fn recovery_is_one_at_the_clean_loss_and_zero_at_the_ablated() {
        let sums = |spliced| LossSums {
            clean: 2.0,
            spliced,
            zero: 8.0,
            ..LossSums::default()
        };
        assert_eq!(sums(2.0).recovered(8.0), Some(1.0));
        assert_eq!(sums(8.0).recovered(8.0), Some(0.0));
        assert_eq!(sums(5.0).recovered(2.0), None);
    }
}
