//! Everything that is known of the features of one dictionary.

use std::collections::BTreeMap;
use std::sync::Arc;

use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use glassbox_model::model::Model;
use rayon::prelude::*;
use serde::Serialize;

use crate::census::{CensusFindings, CensusSettings, Context, Correlated, FeatureFindings, TokenCount};
use crate::error::Result;
use crate::reports::consistency::{Consistency, REACH, judge};
use crate::reports::logit_weights::{LogitWeights, logit_weights};
use crate::reports::nearest::{Near, nearest_features};

/// Tokens listed as common.
const COMMON_TOKENS: usize = 20;

/// Contexts from one interval of activation.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalContexts {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Share of the active tokens within, by the histogram (within its bins taken as even).
    pub share: f64,
    /// The contexts, highest activation first.
    pub contexts: Vec<Context>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureReport {
    /// Its number.
    pub feature: u32,
    /// Its usual name: `L25-10096`.
    pub name: String,
    /// Tokens on which it was active.
    pub active: u64,
    /// Share of the tokens on which it was active.
    pub density: f64,
    /// Mean activation where active.
    pub mean: f64,
    /// Standard deviation where active.
    pub standard_deviation: f64,
    /// Largest activation.
    pub largest: f32,
    /// Length of a bin of the histogram.
    pub bin_width: f32,
    /// Active tokens by activation, in bins of equal length from zero.
    pub histogram: Vec<u64>,
    /// Tokens that it is active on most often in the whole corpus, with counts that are certain.
    pub tokens: Vec<TokenCount>,
    /// Tokens at the peaks of the top contexts, most frequent first.
    pub peak_tokens: Vec<TokenCount>,
    /// Tokens within five of the peaks of the top contexts, most frequent first.
    pub window_tokens: Vec<TokenCount>,
    /// Contexts from the top.
    pub top_contexts: Vec<Context>,
    /// Contexts from intervals of activation, highest interval first.
    pub intervals: Vec<IntervalContexts>,
    /// Direct effect on the logits; `None` for dead features and where nothing leads straight to the logits.
    pub logits: Option<LogitWeights>,
    /// Features with the nearest decoder directions.
    pub nearest: Vec<Near>,
    /// Features whose activations are correlated.
    pub correlated: Vec<Correlated>,
    /// Whether its contexts have something in common; `None` with too few of them.
    pub consistency: Option<Consistency>,
    /// What a language model said of it, where one was asked.
    pub label: Option<String>,
}

/// Counts over all features of a dictionary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CensusSummary {
    /// Number of features.
    pub features: usize,
    /// Tokens of the census that count as data.
    pub tokens: u64,
    /// Mean number of active features per token.
    pub l0: f64,
    /// Features that were active on no token.
    pub dead: usize,
    /// Features that were active on more than one token in ten.
    pub dense: usize,
    /// Features with enough contexts to be judged.
    pub judged: usize,
    /// Features that count as interpretable by their consistency.
    pub interpretable: usize,
    /// Share of the live features that do.
    pub interpretable_share: Option<f64>,
    /// Mean agreement that controls have.
    pub control_agreement: Option<f64>,
    /// Median score of the features judged.
    pub median_score: Option<f64>,
    /// Tokens that correlations were computed on.
    pub sampled_tokens: usize,
}

/// Everything that is known of the features of one dictionary.
#[derive(Clone, Debug)]
pub struct DictionaryReport {
    /// Its name, also that of its folder.
    pub name: String,
    /// The model's name.
    pub model: String,
    /// The site that it reads.
    pub site: String,
    /// The site that it writes.
    pub output_site: String,
    /// Block of the site that it reads.
    pub layer: Option<u32>,
    /// What it is: its rule, format and so on, in words.
    pub facts: Vec<(String, String)>,
    /// The corpus in words.
    pub corpus: String,
    /// How the census was taken.
    pub settings: CensusSettings,
    /// Counts over all features.
    pub summary: CensusSummary,
    /// The features [features].
    pub features: Vec<FeatureReport>,
}

/// What a report says beside what was found.
#[derive(Clone, Debug)]
pub struct ReportFacts {
    /// Name of the dictionary.
    pub name: String,
    /// Name of the model.
    pub model: String,
    /// The corpus in words.
    pub corpus: String,
}

/// Puts together what the census found and what the weights say.
///
/// # Errors
/// Those of the dictionary and of the backend.
pub fn report_features<B: Backend>(
    model: &Model<B>,
    dictionary: &Arc<Dictionary<B>>,
    findings: CensusFindings,
    settings: &CensusSettings,
    facts: ReportFacts,
) -> Result<DictionaryReport> {
    let description = dictionary.description();
    let CensusFindings {
        tokens,
        l0,
        sampled_tokens,
        features,
        correlated,
        background: _,
    } = findings;
    let live: Vec<u32> = (0..)
        .zip(&features)
        .filter(|(_, found)| found.active > 0)
        .map(|(feature, _)| feature)
        .collect();
    let mut logits: BTreeMap<u32, LogitWeights> = BTreeMap::new();
    if settings.logit_tokens > 0 {
        logit_weights(
            model,
            dictionary,
            &live,
            settings.logit_tokens,
            |feature, found| {
                logits.insert(feature, found);
            },
        )?;
    }
    let nearest = nearest_features(dictionary, settings.neighbours)?;
    let contexts: Vec<&[Context]> = features
        .iter()
        .map(|found| found.top_contexts.as_slice())
        .collect();
    let judgements = judge(&contexts, settings.seed)?;
    let features: Vec<FeatureReport> = features
        .into_iter()
        .zip(nearest)
        .zip(correlated)
        .zip(judgements)
        .zip(0..)
        .map(|((((found, nearest), correlated), consistency), feature)| {
            let name = description.feature_name(feature);
            let mut report = feature_report(found, tokens, feature, name);
            report.logits = logits.remove(&feature);
            report.nearest = nearest;
            report.correlated = correlated;
            report.consistency = consistency;
            report
        })
        .collect();
    let provenance = &description.provenance;
    let mut words = vec![
        ("activation".to_owned(), description.rule.to_string()),
        ("width".to_owned(), description.width.to_string()),
        ("format".to_owned(), provenance.format.clone()),
    ];
    if description.is_transcoder() {
        words.push(("writes".to_owned(), description.output_site.to_string()));
    }
    for (file, checksum) in &provenance.checksums {
        words.push((format!("BLAKE3 of {file}"), checksum.clone()));
    }
    Ok(DictionaryReport {
        name: facts.name,
        model: facts.model,
        site: description.site.to_string(),
        output_site: description.output_site.to_string(),
        layer: description.site.layer(),
        facts: words,
        corpus: facts.corpus,
        settings: settings.clone(),
        summary: summary(&features, tokens, l0, sampled_tokens),
        features,
    })
}

fn feature_report(found: FeatureFindings, tokens: u64, feature: u32, name: String) -> FeatureReport {
    let peak_tokens = common(&found.top_contexts, 0);
    let window_tokens = common(&found.top_contexts, REACH);
    let intervals = found
        .intervals
        .into_iter()
        .map(|interval| IntervalContexts {
            share: share(
                &found.histogram,
                f64::from(found.bin_width),
                interval.from,
                interval.to,
            ),
            from: interval.from,
            to: interval.to,
            contexts: interval.contexts,
        })
        .collect();
    FeatureReport {
        feature,
        name,
        active: found.active,
        density: found.active as f64 / (tokens as f64).max(1.0),
        mean: found.mean,
        standard_deviation: found.standard_deviation,
        largest: found.largest,
        bin_width: found.bin_width,
        histogram: found.histogram,
        tokens: found.tokens,
        peak_tokens,
        window_tokens,
        top_contexts: found.top_contexts,
        intervals,
        logits: None,
        nearest: Vec::new(),
        correlated: Vec::new(),
        consistency: None,
        label: None,
    }
}

/// Tokens within so many of the peaks, most frequent first; of equals the lower id.
fn common(contexts: &[Context], reach: i64) -> Vec<TokenCount> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for context in contexts {
        let peak = i64::from(context.peak);
        for (at, token) in (0..).zip(&context.tokens) {
            if (at - peak).abs() <= reach {
                *counts.entry(*token).or_default() += 1;
            }
        }
    }
    let mut common: Vec<TokenCount> = counts
        .into_iter()
        .map(|(token, at_least)| TokenCount { token, at_least })
        .collect();
    common.sort_by_key(|count| (std::cmp::Reverse(count.at_least), count.token));
    common.truncate(COMMON_TOKENS);
    common
}

/// Share of a histogram's counts between two values.
fn share(counts: &[u64], bin: f64, from: f64, to: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 || bin <= 0.0 {
        return 0.0;
    }
    let within: f64 = counts
        .iter()
        .enumerate()
        .map(|(i, count)| {
            let (low, high) = (i as f64 * bin, (i + 1) as f64 * bin);
            let overlap = (high.min(to) - low.max(from)).max(0.0);
            *count as f64 * overlap / bin
        })
        .sum();
    (within / total as f64).min(1.0)
}

fn summary(features: &[FeatureReport], tokens: u64, l0: f64, sampled_tokens: usize) -> CensusSummary {
    let dead = features.iter().filter(|feature| feature.active == 0).count();
    let mut scores: Vec<f64> = features
        .par_iter()
        .filter_map(|feature| feature.consistency.map(|found| found.score))
        .collect();
    scores.sort_unstable_by(f64::total_cmp);
    let controls: Vec<f64> = features
        .iter()
        .filter_map(|feature| feature.consistency.map(|found| found.control))
        .collect();
    let interpretable = features
        .iter()
        .filter(|feature| feature.consistency.is_some_and(|found| found.interpretable))
        .count();
    let live = features.len() - dead;
    CensusSummary {
        features: features.len(),
        tokens,
        l0,
        dead,
        dense: features.iter().filter(|feature| feature.density > 0.1).count(),
        judged: scores.len(),
        interpretable,
        interpretable_share: (live > 0).then(|| interpretable as f64 / live as f64),
        control_agreement: (!controls.is_empty())
            .then(|| controls.iter().sum::<f64>() / controls.len() as f64),
        median_score: median(&scores),
        sampled_tokens,
    }
}

/// The middle of sorted numbers, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let above = sorted.get(sorted.len() / 2)?;
    let below = sorted.get((sorted.len() - 1) / 2)?;
    Some((below + above) / 2.0)
}
