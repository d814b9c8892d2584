//! Whether activations are those that a dictionary was made for.
//!
//! A dictionary that is given another site, another model, activations in other units or states from behind the final norm
//! still encodes, and its features still look plausible. What gives it away is the reconstruction: it was nearly as good at
//! training as it will ever be.

use glassbox_dictionary::TrainingRecord;
use serde::{Deserialize, Serialize};

use crate::evaluation::reconstruction_sums::ReconstructionFigures;

/// What was measured on held-out tokens when the dictionary was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingFigures {
    /// Mean ‖x − x̂‖² over tokens.
    pub mean_squared_error: f64,
    /// Mean length of the activations that are read.
    pub mean_norm: f64,
    /// Explained variance.
    pub explained_variance: f64,
}

impl From<&TrainingRecord> for TrainingFigures {
    fn from(record: &TrainingRecord) -> Self {
        Self {
            mean_squared_error: record.mean_squared_error,
            mean_norm: record.mean_norm,
            explained_variance: record.explained_variance,
        }
    }
}

/// What a judgement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// What was recorded when the dictionary was trained.
    TrainingRecord,
    /// The reconstruction alone: the dictionary's files record nothing of its training.
    Reconstruction,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DistributionCheck {
    /// Whether the input looks out of distribution.
    pub out_of_distribution: bool,
    /// What the judgement rests on.
    pub evidence: Evidence,
    /// What was found, in words; empty where all is well.
    pub reasons: Vec<String>,
    /// What was recorded at training, where it was.
    pub at_training: Option<TrainingFigures>,
}

/// Error beyond this many times that of training is out of distribution.
const ERROR_FACTOR: f64 = 3.0;
/// Explained variance this far below that of training is out of distribution.
const EXPLAINED_DROP: f64 = 0.2;
/// A mean norm that differs by more than this factor is out of distribution.
const NORM_FACTOR: f64 = 2.0;

impl DistributionCheck {
    /// Judges what was measured, and the mean length of the activations that were read, by what was recorded at training where there is
    /// a record.
    pub fn new(
        found: &ReconstructionFigures,
        mean_norm_read: f64,
        at_training: Option<TrainingFigures>,
    ) -> Self {
        let (evidence, reasons) = match &at_training {
            Some(recorded) => (
                Evidence::TrainingRecord,
                against_record(found, mean_norm_read, recorded),
            ),
            None => (Evidence::Reconstruction, against_itself(found)),
        };
        Self {
            out_of_distribution: !reasons.is_empty(),
            evidence,
            reasons,
            at_training,
        }
    }
}

fn against_record(
    found: &ReconstructionFigures,
    mean_norm_read: f64,
    recorded: &TrainingFigures,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let norm = mean_norm_read / recorded.mean_norm.max(f64::MIN_POSITIVE);
    if !(1.0 / NORM_FACTOR..=NORM_FACTOR).contains(&norm) {
        reasons.push(format!(
            "the activations are {:.4} long on average, {norm:.3} times those of training ({:.4}): another site, other units, or states \
             from behind a norm",
            mean_norm_read, recorded.mean_norm
        ));
    }
    if found.mean_squared_error > ERROR_FACTOR * recorded.mean_squared_error {
        reasons.push(format!(
            "the mean squared error is {:.4}, {:.1} times that of training ({:.4})",
            found.mean_squared_error,
            found.mean_squared_error / recorded.mean_squared_error.max(f64::MIN_POSITIVE),
            recorded.mean_squared_error
        ));
    }
    if let Some(explained) = found
        .explained_variance
        .filter(|explained| *explained < recorded.explained_variance - EXPLAINED_DROP)
    {
        reasons.push(format!(
            "the explained variance is {explained:.4}, at training it was {:.4}",
            recorded.explained_variance
        ));
    }
    reasons
}

fn against_itself(found: &ReconstructionFigures) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(unexplained) = found
        .fraction_of_variance_unexplained
        .filter(|unexplained| *unexplained > 1.0)
    {
        reasons.push(format!(
            "{unexplained:.3} of the variance is unexplained: the mean activation would be a better reconstruction"
        ));
    }
    if !(1.0 / NORM_FACTOR..=NORM_FACTOR).contains(&found.norm_ratio) {
        reasons.push(format!(
            "reconstructions are {:.3} times as long as the activations",
            found.norm_ratio
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::reconstruction_sums::ReconstructionSums;

    fn figures(scale: f32, out_scale: f32) -> ReconstructionFigures {
        let x: Vec<f32> = (0..400)
            .map(|i| scale * ((i * 7919 % 101) as f32 - 50.0))
            .collect();
        let out: Vec<f32> = x.iter().map(|x| x * out_scale).collect();
        let mut sums = ReconstructionSums::new(4);
        sums.push(&x, &out);
        sums.figures().unwrap()
    }

    fn judged(found: &ReconstructionFigures, record: Option<TrainingFigures>) -> DistributionCheck {
        DistributionCheck::new(found, found.mean_norm, record)
    }

    #[test]
    fn the_record_decides_where_there_is_one() {
        let at_training = figures(1.0, 0.9);
        let record = TrainingFigures {
            mean_squared_error: at_training.mean_squared_error,
            mean_norm: at_training.mean_norm,
            explained_variance: at_training.explained_variance.unwrap(),
        };
        assert!(!judged(&at_training, Some(record)).out_of_distribution);
        // Ten times as long, reconstructed just as well: only the record can know.
        let longer = judged(&figures(10.0, 0.9), Some(record));
        assert!(longer.out_of_distribution && longer.evidence == Evidence::TrainingRecord);
        assert!(!judged(&figures(10.0, 0.9), None).out_of_distribution);
    }

    #[test]
    fn a_reconstruction_worse_than_the_mean_says_so_itself() {
        let check = judged(&figures(1.0, -0.5), None);
        assert!(check.out_of_distribution && check.evidence == Evidence::Reconstruction);
        assert!(check.reasons[0].contains("unexplained"), "{:?}", check.reasons);
        assert!(judged(&figures(1.0, 0.3), None).out_of_distribution);
    }
}
