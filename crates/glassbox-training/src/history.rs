//! The history of a run: one line of JSON for every so many steps.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use glassbox_store::{Storage, StoreError, write_bytes};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainingError};
use crate::held_out::HeldOutFigures;

/// One line. Times are not in it: a run that was resumed has the same history as one that was not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// Steps made.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Everything that was descended on, of the last batch.
    pub loss: f64,
    /// 1 − mean ‖x − x̂‖² in unit scale, of the last batch.
    pub explained_variance: f64,
    /// Active features per token, of the last batch.
    pub l0: f64,
    /// Mean of Σ f in unit scale, of the last batch.
    pub l1: f64,
    /// Share of the features that count as dead.
    pub dead_share: f64,
    /// The auxiliary loss with its coefficient.
    pub auxiliary_loss: f64,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Figures on held-out tokens, in the steps where they were measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_out: Option<HeldOutFigures>,
}

/// Adds a line to the file.
pub(crate) fn append(path: &Path, line: &HistoryLine) -> Result<()> {
    let failed = |cause| TrainingError::Store(StoreError::from_write(path, cause));
    let mut text = serde_json::to_string(line).map_err(|cause| failed(cause.into()))?;
    text.push('\n');
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Keeps the lines up to a step: what a killed run had written after its last checkpoint comes again.
pub(crate) fn keep_until(path: &Path, step: u64) -> Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => {
            return Err(TrainingError::Checkpoint {
                path: path.to_path_buf(),
                problem: format!(
                    "the history cannot be read: {cause}; remove it to go on without what it holds"
                ),
            });
        }
    };
    let kept: String = text
        .lines()
        .take_while(|line| serde_json::from_str::<HistoryLine>(line).is_ok_and(|line| line.step <= step))
        .flat_map(|line| [line, "\n"])
        .collect();
    write_bytes(&Storage::new(), path, kept.as_bytes())?;
    Ok(())
}
