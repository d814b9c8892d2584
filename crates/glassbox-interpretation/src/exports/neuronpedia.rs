//! Files as SAEDashboard's `NeuronpediaRunner` writes them, which Neuronpedia's converter and importer read.
//!
//! `batch-N.json` holds `{model_id, layer, sae_set, features}`, each feature with the fields of SAEDashboard 0.8's
//! `NeuronpediaDashboardFeature`. Groups of contexts are named by their bins as there: −1 to the largest activation for the top ones,
//! and an interval with the share of all tokens within. `skipped_indexes.json` names the dead features. Neuron tables are empty: they
//! describe the residual stream's own basis, which is not computed here.

use std::io::Write as _;
use std::path::Path;

use glassbox_store::{AtomicFile, Storage};
use serde_json::{Value, json};

use crate::census::Context;
use crate::error::{InterpretationError, Result};
use crate::exports::json_lines::{finish, writing};
use crate::reports::{DictionaryReport, FeatureReport, TokenTexts, TokenWeight};

/// Features of a batch.
const FEATURES_PER_BATCH: usize = 128;

/// What Neuronpedia calls things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeuronpediaNames {
    /// Its id of the model, `gpt2-small` for example.
    pub model_id: String,
    /// Its name of the set of dictionaries, `res-jb` for example.
    pub sae_set: String,
    /// Tokens of a row of the corpus at most.
    pub tokens_in_prompt: usize,
}

/// Writes batches of features into a folder.
///
/// # Errors
/// [`InterpretationError::Store`] and [`InterpretationError::Io`].
pub fn write_neuronpedia(
    storage: &Storage,
    folder: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
    names: &NeuronpediaNames,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| InterpretationError::Io {
        action: "create",
        path: folder.to_path_buf(),
        cause,
    })?;
    let live: Vec<&FeatureReport> = report
        .features
        .iter()
        .filter(|feature| feature.active > 0)
        .collect();
    for (number, features) in live.chunks(FEATURES_PER_BATCH).enumerate() {
        let features: Vec<Value> = features
            .iter()
            .map(|feature| feature_json(feature, report, texts, names))
            .collect();
        let batch = json!({
            "model_id": names.model_id,
            "layer": report.layer,
            "sae_set": names.sae_set,
            "features": features,
        });
        write(storage, &folder.join(format!("batch-{number}.json")), &batch)?;
    }
    let dead: Vec<u32> = report
        .features
        .iter()
        .filter(|feature| feature.active == 0)
        .map(|feature| feature.feature)
        .collect();
    let skipped = json!({
        "model_id": names.model_id,
        "layer": report.layer.map(|layer| layer.to_string()),
        "sae_set": names.sae_set,
        "log_sparsity": Value::Null,
        "skipped_indexes": dead,
    });
    write(storage, &folder.join("skipped_indexes.json"), &skipped)
}

fn write(storage: &Storage, path: &Path, value: &Value) -> Result<()> {
    let mut file = std::io::BufWriter::new(AtomicFile::create(storage, path)?);
    write!(file, "{value}").map_err(writing(path))?;
    finish(file, path)
}

/// Three digits after the point, as SAEDashboard rounds.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn feature_json(
    feature: &FeatureReport,
    report: &DictionaryReport,
    texts: &TokenTexts,
    names: &NeuronpediaNames,
) -> Value {
    let strings =
        |tokens: &[TokenWeight]| -> Vec<&str> { tokens.iter().map(|t| texts.text(t.token)).collect() };
    let values = |tokens: &[TokenWeight]| -> Vec<f64> {
        tokens.iter().map(|t| rounded(f64::from(t.weight))).collect()
    };
    let logits = feature.logits.as_ref();
    let (promoted, suppressed) = logits.map_or((&[][..], &[][..]), |logits| {
        (logits.promoted.as_slice(), logits.suppressed.as_slice())
    });
    let centre = |i: usize, from: f32, bin: f32| rounded(f64::from(from) + (i as f64 + 0.5) * f64::from(bin));
    let activation_bins: Vec<f64> = (0..feature.histogram.len())
        .map(|i| centre(i, 0.0, feature.bin_width))
        .collect();
    let (logit_bins, logit_counts): (Vec<f64>, Vec<u64>) = logits.map_or_else(Default::default, |logits| {
        let bins =
            (0..logits.histogram.len()).map(|i| centre(i, logits.histogram_from, logits.histogram_bin));
        (bins.collect(), logits.histogram.clone())
    });
    let mut activations: Vec<Value> = feature
        .top_contexts
        .iter()
        .map(|context| context_json(context, -1.0, f64::from(feature.largest), -1.0, texts))
        .collect();
    for interval in &feature.intervals {
        let share = interval.share * feature.density;
        activations.extend(
            interval
                .contexts
                .iter()
                .map(|context| context_json(context, interval.from, interval.to, share, texts)),
        );
    }
    let prompts = report
        .summary
        .tokens
        .div_ceil(names.tokens_in_prompt.max(1) as u64);
    json!({
        "feature_index": feature.feature,
        "neuron_alignment_indices": [],
        "neuron_alignment_values": [],
        "neuron_alignment_l1": [],
        "correlated_neurons_indices": [],
        "correlated_neurons_l1": [],
        "correlated_neurons_pearson": [],
        "correlated_features_indices": feature.correlated.iter().map(|found| found.feature).collect::<Vec<_>>(),
        "correlated_features_l1": [],
        "correlated_features_pearson": feature.correlated.iter().map(|found| rounded(found.correlation)).collect::<Vec<_>>(),
        "neg_str": strings(suppressed),
        "neg_values": values(suppressed),
        "pos_str": strings(promoted),
        "pos_values": values(promoted),
        "frac_nonzero": feature.density,
        "freq_hist_data_bar_values": activation_bins,
        "freq_hist_data_bar_heights": feature.histogram,
        "logits_hist_data_bar_heights": logit_counts,
        "logits_hist_data_bar_values": logit_bins,
        "n_prompts_total": prompts,
        "n_tokens_in_prompt": names.tokens_in_prompt,
        "dataset": report.corpus,
        "decoder_weights_dist": [],
        "activations": activations,
    })
}

fn context_json(
    context: &Context,
    bin_min: f64,
    bin_max: f64,
    bin_contains: f64,
    texts: &TokenTexts,
) -> Value {
    let values: Vec<f64> = context
        .activations
        .iter()
        .map(|value| rounded(f64::from(*value)))
        .collect();
    json!({
        "bin_min": bin_min,
        "bin_max": bin_max,
        "bin_contains": bin_contains,
        "tokens": texts.texts(&context.tokens),
        "values": values,
    })
}
