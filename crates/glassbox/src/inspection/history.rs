//! A training history of GhostTrack, with L0 as it is.

use std::path::Path;

use glassbox_dictionary::{GHOSTTRACK_TARGET_L0, GhostTrackEpoch, GhostTrackHistory};
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{facts, table};

/// Reads a history; L0 needs the number of features, given or from the checkpoint beside the file.
pub(super) fn inspect(path: &Path, given: Option<usize>) -> Result<Inspection, CliError> {
    let history = GhostTrackHistory::read(path)?;
    let (features, from) = match given {
        Some(features) => (Some(features), "given"),
        None => (history.features_beside()?, "of the checkpoint beside it"),
    };
    let (low, high) = (*GHOSTTRACK_TARGET_L0.start(), *GHOSTTRACK_TARGET_L0.end());
    let best = history.best();
    let l0 = best.and_then(|(_, epoch)| Some(epoch.l0(features?)));
    let met = l0.map(|l0| GHOSTTRACK_TARGET_L0.contains(&l0));
    let verdict = match (l0, met) {
        (Some(l0), Some(true)) => format!("{l0:.0} active features per token: within {low:.0} to {high:.0}"),
        (Some(l0), _) if l0 > high => format!(
            "missed: {l0:.0} active features per token, {:.1} times the upper end of {low:.0} to {high:.0}",
            l0 / high
        ),
        (Some(l0), _) => format!("missed: {l0:.0} active features per token, below {low:.0} to {high:.0}"),
        (None, _) => {
            "unknown: a history has only the share of active features; name the number of features with \
                      --features N, or put the checkpoint beside it"
                .to_owned()
        }
    };
    let mut lines = vec![
        ("history", path.display().to_string()),
        ("epochs", history.epochs.len().to_string()),
        (
            "features",
            features.map_or_else(
                || "not stated".to_owned(),
                |features| format!("{features} ({from})"),
            ),
        ),
    ];
    if let Some((number, epoch)) = best {
        lines.push((
            "best epoch",
            format!(
                "{} (lowest held-out error, {:.6})",
                number + 1,
                epoch.mean_squared_error
            ),
        ));
    }
    lines.push(("L0 target", verdict));
    let rows: Vec<Vec<String>> = (1..)
        .zip(&history.epochs)
        .map(|(number, epoch)| row(number, epoch, features))
        .collect();
    let headings = [
        "epoch",
        "held-out MSE",
        "training MSE",
        "active share",
        "L0",
        "mean |f|",
        "learning rate",
    ];
    let text = format!(
        "{}\n{}\nMSE is the mean over tokens and elements of the squared error, not divided by the variance: layers \
         cannot be compared by it.\n",
        facts(&lines),
        table(&headings, &rows)
    );
    let epochs: Vec<Value> = history
        .epochs
        .iter()
        .map(|epoch| object(epoch, features))
        .collect();
    let rest = json!({
        "features": features,
        "best_epoch": best.map(|(number, _)| number + 1),
        "l0": l0,
        "target_l0": [low, high],
        "target_l0_met": met,
        "epochs": epochs,
    });
    Ok(Inspection {
        text,
        json: described("ghosttrack_history", path, true, rest),
        damage: None,
    })
}

fn row(number: usize, epoch: &GhostTrackEpoch, features: Option<usize>) -> Vec<String> {
    vec![
        number.to_string(),
        format!("{:.6}", epoch.mean_squared_error),
        format!("{:.6}", epoch.training_mean_squared_error),
        format!("{:.4}", epoch.active_share),
        features.map_or_else(|| "–".to_owned(), |features| format!("{:.0}", epoch.l0(features))),
        format!("{:.4}", epoch.mean_absolute_feature),
        format!("{:.2e}", epoch.learning_rate),
    ]
}

fn object(epoch: &GhostTrackEpoch, features: Option<usize>) -> Value {
    json!({
        "held_out_mean_squared_error": epoch.mean_squared_error,
        "training_mean_squared_error": epoch.training_mean_squared_error,
        "training_loss": epoch.training_loss,
        "active_share": epoch.active_share,
        "training_active_share": epoch.training_active_share,
        "l0": features.map(|features| epoch.l0(features)),
        "mean_absolute_feature": epoch.mean_absolute_feature,
        "learning_rate": epoch.learning_rate,
    })
}
