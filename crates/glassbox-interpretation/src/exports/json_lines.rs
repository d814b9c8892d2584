//! `features.jsonl`: one JSON object per feature.

use std::io::Write as _;
use std::path::Path;

use glassbox_store::{AtomicFile, Storage};
use serde_json::{Value, json};

use crate::census::{Context, TokenCount};
use crate::error::{InterpretationError, Result};
use crate::reports::{DictionaryReport, FeatureReport, TokenTexts, TokenWeight};

/// Writes one line per feature, dead ones included. Intervals of activation are in the table of contexts only.
///
/// # Errors
/// [`InterpretationError::Store`] and [`InterpretationError::Io`].
pub fn write_json_lines(
    storage: &Storage,
    path: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
) -> Result<()> {
    let mut file = std::io::BufWriter::new(AtomicFile::create(storage, path)?);
    for feature in &report.features {
        writeln!(file, "{}", feature_json(feature, texts)).map_err(writing(path))?;
    }
    finish(file, path)
}

/// A failed write of a file.
pub(super) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> InterpretationError {
    let path = path.to_path_buf();
    move |cause| InterpretationError::Io {
        action: "write",
        path,
        cause,
    }
}

/// Gives a file its name.
pub(super) fn finish(file: std::io::BufWriter<AtomicFile>, path: &Path) -> Result<()> {
    let file = file
        .into_inner()
        .map_err(|error| writing(path)(error.into_error()))?;
    file.commit()?;
    Ok(())
}

/// A feature as JSON.
pub fn feature_json(feature: &FeatureReport, texts: &TokenTexts) -> Value {
    let counts = |counts: &[TokenCount]| -> Value {
        counts
            .iter()
            .map(|count| json!([texts.text(count.token), count.at_least]))
            .collect()
    };
    let weights = |tokens: &[TokenWeight]| -> Value {
        tokens
            .iter()
            .map(|found| json!([texts.text(found.token), found.weight]))
            .collect()
    };
    json!({
        "feature": feature.feature,
        "name": feature.name,
        "active_tokens": feature.active,
        "density": feature.density,
        "mean": feature.mean,
        "standard_deviation": feature.standard_deviation,
        "largest": feature.largest,
        "histogram": {"bin": feature.bin_width, "counts": feature.histogram},
        "tokens": counts(&feature.tokens),
        "peak_tokens": counts(&feature.peak_tokens),
        "window_tokens": counts(&feature.window_tokens),
        "promoted": feature.logits.as_ref().map(|logits| weights(&logits.promoted)),
        "suppressed": feature.logits.as_ref().map(|logits| weights(&logits.suppressed)),
        "nearest": feature.nearest.iter().map(|near| json!([near.feature, near.cosine])).collect::<Value>(),
        "correlated": feature.correlated.iter().map(|found| json!([found.feature, found.correlation])).collect::<Value>(),
        "consistency": feature.consistency,
        "label": feature.label,
        "top_contexts": feature.top_contexts.iter().map(|context| context_json(context, texts)).collect::<Value>(),
    })
}

/// A context: its tokens as text, and [index, activation] of those on which the feature is active.
fn context_json(context: &Context, texts: &TokenTexts) -> Value {
    json!({
        "document": context.document,
        "token_number": context.token_number,
        "peak": context.peak,
        "activation": context.activation,
        "tokens": texts.texts(&context.tokens),
        "active": context.activations.iter().enumerate().filter(|(_, value)| **value != 0.0)
            .map(|(i, value)| json!([i, value])).collect::<Value>(),
    })
}
