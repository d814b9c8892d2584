//! A look at the activations before training: rows for scale and mean, and the held-out rows.

use glassbox_corpus::{ActivationBatch, ActivationSource, Split};

use crate::error::{Result, TrainingError};
use crate::settings::TrainSettings;

/// Rows of every site of a source.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// One [n, width] per site, of training rows.
    pub training: Vec<Vec<f32>>,
    /// One [n, width] per site, of held-out rows.
    pub held_out: Vec<Vec<f32>>,
}

impl Survey {
    /// Reads from where the source stands, then puts it back there. It stops when it has what the settings ask for, at the
    /// end of a pass, or after a quarter of the run's tokens.
    pub fn of(source: &mut dyn ActivationSource, settings: &TrainSettings) -> Result<Self> {
        let state = source.state();
        let sites = source.sites().to_vec();
        let mut survey = Self {
            training: vec![Vec::new(); sites.len()],
            held_out: vec![Vec::new(); sites.len()],
        };
        let (mut training, mut held_out, mut read) = (0usize, 0usize, 0u64);
        let mut batch = ActivationBatch::new();
        let most = settings.tokens / 4 + settings.survey_tokens as u64;
        let wanted =
            |training, held_out| training < settings.survey_tokens || held_out < settings.held_out_tokens;
        while wanted(training, held_out) && (read < most || training == 0 || held_out == 0) {
            if !source.next(&mut batch)? {
                break;
            }
            read += batch.len() as u64;
            for (row, split) in batch.splits.iter().enumerate() {
                let (to, count, limit) = match split {
                    Split::Train => (&mut survey.training, &mut training, settings.survey_tokens),
                    Split::HeldOut => (&mut survey.held_out, &mut held_out, settings.held_out_tokens),
                };
                if *count == limit {
                    continue;
                }
                *count += 1;
                for ((to, values), site) in to.iter_mut().zip(&batch.sites).zip(&sites) {
                    to.extend_from_slice(&values[row * site.width..(row + 1) * site.width]);
                }
            }
        }
        source.restore(&state)?;
        if training < 2 || held_out == 0 {
            return Err(TrainingError::TooFewTokens {
                found: training as u64,
                held_out: held_out as u64,
                needed: 2,
            });
        }
        Ok(survey)
    }
}
