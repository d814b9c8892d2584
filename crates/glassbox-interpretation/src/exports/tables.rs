//! The Parquet tables of a census.

use std::path::Path;

use glassbox_store::{Storage, TableWriter, table};

use crate::census::Context;
use crate::error::Result;
use crate::reports::{DictionaryReport, FeatureReport, TokenTexts};

table! {
    /// One feature of a dictionary.
    pub struct FeatureRow: "features", version 1 {
        /// Number of the feature.
        pub feature: u32,
        /// Its usual name, L25-10096 for example.
        pub name: String,
        /// Tokens on which it was active.
        pub active_tokens: u64,
        /// Share of the tokens on which it was active.
        pub density: f64,
        /// Mean activation where active.
        pub mean: f64,
        /// Standard deviation of the activation where active.
        pub standard_deviation: f64,
        /// Largest activation.
        pub largest: f32,
        /// Length of a bin of the histogram.
        pub histogram_bin: f32,
        /// Active tokens by activation, in bins of equal length from zero.
        pub histogram: Vec<u64>,
        /// Tokens that it is active on most often, by falling count.
        pub tokens: Vec<String>,
        /// Counts of these; each is certain, and may be too low.
        pub token_counts: Vec<u64>,
        /// Tokens at the peaks of the top contexts, by falling count.
        pub peak_tokens: Vec<String>,
        /// Counts of these.
        pub peak_token_counts: Vec<u64>,
        /// Tokens within five of the peaks of the top contexts, by falling count.
        pub window_tokens: Vec<String>,
        /// Counts of these.
        pub window_token_counts: Vec<u64>,
        /// Largest chance that two top contexts have the same token at one offset from the peak; missing with fewer than five contexts.
        pub agreement: Option<f64>,
        /// The offset where it is.
        pub agreement_offset: Option<i64>,
        /// Mean of the same for contexts of features at random.
        pub agreement_control: Option<f64>,
        /// (agreement - control) / (1 - control).
        pub score: Option<f64>,
        /// Share of controls that reach the agreement.
        pub p: Option<f64>,
        /// p adjusted by Benjamini and Hochberg over the features judged.
        pub q: Option<f64>,
        /// q below 0.05 and score at least 0.2; missing with fewer than five contexts.
        pub interpretable: Option<bool>,
        /// Standard deviation of its logit weights over the vocabulary.
        pub logit_standard_deviation: Option<f64>,
        /// Skewness of its logit weights.
        pub logit_skewness: Option<f64>,
        /// Excess kurtosis of its logit weights.
        pub logit_kurtosis: Option<f64>,
        /// What a language model said of it.
        pub label: Option<String>,
    }
}

table! {
    /// A context of a feature: a stretch of one document.
    pub struct ContextRow: "contexts", version 1 {
        /// The feature.
        pub feature: u32,
        /// `top`, or `interval` for a context drawn at random from an interval of activation.
        pub kind: String,
        /// Lower end of the interval; missing for `top`.
        pub interval_from: Option<f64>,
        /// Upper end of the interval; missing for `top`.
        pub interval_to: Option<f64>,
        /// Place in its list, from 0.
        pub rank: u32,
        /// Number of the document.
        pub document: u64,
        /// Number of the peak among all tokens of the corpus.
        pub token_number: u64,
        /// Activation at the peak.
        pub activation: f32,
        /// Index of the peak in the tokens.
        pub peak: u32,
        /// Token ids.
        pub tokens: Vec<u32>,
        /// The feature's activation at each of them; zero at tokens that are no data.
        pub activations: Vec<f32>,
        /// The text of the tokens.
        pub text: String,
    }
}

table! {
    /// A token that a feature promotes or suppresses most.
    pub struct LogitWeightRow: "logit_weights", version 1 {
        /// The feature.
        pub feature: u32,
        /// `promoted` or `suppressed`.
        pub direction: String,
        /// Place in its list, from 0.
        pub rank: u32,
        /// Token id.
        pub token: u32,
        /// Its text.
        pub text: String,
        /// Weight: decoder row times the final norm's weight times the unembedding, minus the mean over the vocabulary.
        pub weight: f32,
    }
}

table! {
    /// A feature near another one.
    pub struct NeighbourRow: "neighbours", version 1 {
        /// The feature.
        pub feature: u32,
        /// `decoder` for the cosine of decoder rows, `activation` for the correlation of activations.
        pub kind: String,
        /// Place in its list, from 0.
        pub rank: u32,
        /// The other feature.
        pub neighbour: u32,
        /// The cosine or the correlation.
        pub similarity: f64,
        /// Sampled tokens on which both were active; missing for `decoder`.
        pub together: Option<u64>,
        /// Of the sampled tokens on which either was active, the share on which both were; missing for `decoder`.
        pub jaccard: Option<f64>,
    }
}

/// Writes the four tables into a folder.
///
/// # Errors
/// [`crate::InterpretationError::Store`].
pub fn write_tables(
    storage: &Storage,
    folder: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
) -> Result<()> {
    let mut features = TableWriter::create(storage, &folder.join("features.parquet"))?;
    let mut contexts = TableWriter::create(storage, &folder.join("contexts.parquet"))?;
    let mut weights = TableWriter::create(storage, &folder.join("logit_weights.parquet"))?;
    let mut neighbours = TableWriter::create(storage, &folder.join("neighbours.parquet"))?;
    for feature in &report.features {
        features.push(feature_row(feature, texts))?;
        for row in context_rows(feature, texts) {
            contexts.push(row)?;
        }
        for row in weight_rows(feature, texts) {
            weights.push(row)?;
        }
        for row in neighbour_rows(feature) {
            neighbours.push(row)?;
        }
    }
    features.finish()?;
    contexts.finish()?;
    weights.finish()?;
    neighbours.finish()?;
    Ok(())
}

fn feature_row(feature: &FeatureReport, texts: &TokenTexts) -> FeatureRow {
    let lists = |counts: &[crate::census::TokenCount]| {
        (
            counts
                .iter()
                .map(|count| texts.text(count.token).to_owned())
                .collect(),
            counts.iter().map(|count| count.at_least).collect(),
        )
    };
    let (tokens, token_counts) = lists(&feature.tokens);
    let (peak_tokens, peak_token_counts) = lists(&feature.peak_tokens);
    let (window_tokens, window_token_counts) = lists(&feature.window_tokens);
    let consistency = &feature.consistency;
    let logits = &feature.logits;
    FeatureRow {
        feature: feature.feature,
        name: feature.name.clone(),
        active_tokens: feature.active,
        density: feature.density,
        mean: feature.mean,
        standard_deviation: feature.standard_deviation,
        largest: feature.largest,
        histogram_bin: feature.bin_width,
        histogram: feature.histogram.clone(),
        tokens,
        token_counts,
        peak_tokens,
        peak_token_counts,
        window_tokens,
        window_token_counts,
        agreement: consistency.map(|found| found.agreement),
        agreement_offset: consistency.map(|found| i64::from(found.offset)),
        agreement_control: consistency.map(|found| found.control),
        score: consistency.map(|found| found.score),
        p: consistency.map(|found| found.p),
        q: consistency.map(|found| found.q),
        interpretable: consistency.map(|found| found.interpretable),
        logit_standard_deviation: logits.as_ref().map(|found| found.standard_deviation),
        logit_skewness: logits.as_ref().map(|found| found.skewness),
        logit_kurtosis: logits.as_ref().map(|found| found.kurtosis),
        label: feature.label.clone(),
    }
}

fn context_rows<'a>(
    feature: &'a FeatureReport,
    texts: &'a TokenTexts,
) -> impl Iterator<Item = ContextRow> + 'a {
    let row = move |interval: Option<(f64, f64)>, rank: usize, context: &Context| ContextRow {
        feature: feature.feature,
        kind: if interval.is_some() { "interval" } else { "top" }.to_owned(),
        interval_from: interval.map(|interval| interval.0),
        interval_to: interval.map(|interval| interval.1),
        rank: rank as u32,
        document: context.document,
        token_number: context.token_number,
        activation: context.activation,
        peak: context.peak,
        tokens: context.tokens.clone(),
        activations: context.activations.clone(),
        text: texts.texts(&context.tokens).concat(),
    };
    let top = feature.top_contexts.iter().enumerate();
    let top = top.map(move |(rank, context)| row(None, rank, context));
    let intervals = feature.intervals.iter().flat_map(move |interval| {
        let ends = Some((interval.from, interval.to));
        let contexts = interval.contexts.iter().enumerate();
        contexts.map(move |(rank, context)| row(ends, rank, context))
    });
    top.chain(intervals)
}

fn weight_rows<'a>(
    feature: &'a FeatureReport,
    texts: &'a TokenTexts,
) -> impl Iterator<Item = LogitWeightRow> + 'a {
    feature.logits.iter().flat_map(move |logits| {
        [("promoted", &logits.promoted), ("suppressed", &logits.suppressed)]
            .into_iter()
            .flat_map(move |(direction, tokens)| {
                tokens
                    .iter()
                    .enumerate()
                    .map(move |(rank, found)| LogitWeightRow {
                        feature: feature.feature,
                        direction: direction.to_owned(),
                        rank: rank as u32,
                        token: found.token,
                        text: texts.text(found.token).to_owned(),
                        weight: found.weight,
                    })
            })
    })
}

fn neighbour_rows(feature: &FeatureReport) -> impl Iterator<Item = NeighbourRow> + '_ {
    let decoder = feature
        .nearest
        .iter()
        .enumerate()
        .map(|(rank, near)| NeighbourRow {
            feature: feature.feature,
            kind: "decoder".to_owned(),
            rank: rank as u32,
            neighbour: near.feature,
            similarity: f64::from(near.cosine),
            together: None,
            jaccard: None,
        });
    let activation = feature
        .correlated
        .iter()
        .enumerate()
        .map(|(rank, found)| NeighbourRow {
            feature: feature.feature,
            kind: "activation".to_owned(),
            rank: rank as u32,
            neighbour: found.feature,
            similarity: found.correlation,
            together: Some(found.together),
            jaccard: Some(found.jaccard),
        });
    decoder.chain(activation)
}
