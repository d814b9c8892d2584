//! What is gathered of one feature during the pass over the corpus.

use crate::census::activation_histogram::ActivationHistogram;
use crate::census::context::Context;
use crate::census::interval_sample::{IntervalSample, SampledInterval};
use crate::census::pass_tokens::PassTokens;
use crate::census::priority::priority;
use crate::census::settings::CensusSettings;
use crate::census::token_counts::{TokenCount, TokenCounts};
use crate::census::top_contexts::TopContexts;

/// Stream of the random numbers of intervals; features follow in steps of two.
const INTERVAL_STREAM: u64 = 1;

/// What is gathered of one feature. Its size is bounded by the settings.
#[derive(Clone, Debug)]
pub(super) struct FeatureTally {
    active: u64,
    sum: f64,
    squares: f64,
    largest: f32,
    histogram: ActivationHistogram,
    tokens: TokenCounts,
    top: TopContexts,
    intervals: IntervalSample,
}

/// What was gathered of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureFindings {
    /// Tokens on which it was active.
    pub active: u64,
    /// Mean activation over these; zero for a dead feature.
    pub mean: f64,
    /// Standard deviation over these.
    pub standard_deviation: f64,
    /// Largest activation.
    pub largest: f32,
    /// Length of a bin of the histogram.
    pub bin_width: f32,
    /// Active tokens by activation, in bins of equal length from zero.
    pub histogram: Vec<u64>,
    /// Tokens that it is active on most often.
    pub tokens: Vec<TokenCount>,
    /// Contexts from the top.
    pub top_contexts: Vec<Context>,
    /// Contexts from intervals of activation, highest interval first.
    pub intervals: Vec<SampledInterval>,
}

impl FeatureTally {
    pub(super) fn new(settings: &CensusSettings) -> Self {
        Self {
            active: 0,
            sum: 0.0,
            squares: 0.0,
            largest: 0.0,
            histogram: ActivationHistogram::default(),
            tokens: TokenCounts::new(settings.token_counters),
            top: TopContexts::new(settings.top_contexts),
            intervals: IntervalSample::new(settings.intervals, settings.contexts_per_interval),
        }
    }

    /// Adds the active tokens of a pass, (index among its kept tokens, activation) in order.
    pub(super) fn push(
        &mut self,
        feature: u64,
        entries: &[(u32, f32)],
        pass: &PassTokens<'_>,
        settings: &CensusSettings,
    ) {
        let mut first = 0;
        while first < entries.len() {
            // One candidate per piece of a document: the top would otherwise be one passage over and over.
            let piece = pass.piece(entries[first].0);
            let mut peak = first;
            let mut at = first;
            while at < entries.len() && pass.piece(entries[at].0) == piece {
                let (token, activation) = entries[at];
                self.active += 1;
                let value = f64::from(activation);
                self.sum += value;
                self.squares += value * value;
                self.histogram.push(activation);
                self.tokens.push(pass.token(token));
                if activation > entries[peak].1 {
                    peak = at;
                }
                let drawn = priority(
                    settings.seed,
                    INTERVAL_STREAM + 2 * feature,
                    pass.token_number(token),
                );
                if self.intervals.takes(activation, drawn) {
                    self.intervals.enter(drawn, pass.context(entries, at, settings));
                }
                at += 1;
            }
            let activation = entries[peak].1;
            self.largest = self.largest.max(activation);
            if self.top.takes(activation) {
                self.top.offer(pass.context(entries, peak, settings));
            }
            first = at;
        }
    }

    pub(super) fn finish(self) -> FeatureFindings {
        let n = self.active as f64;
        let mean = if self.active > 0 { self.sum / n } else { 0.0 };
        let variance = if self.active > 1 {
            ((self.squares - n * mean * mean) / (n - 1.0)).max(0.0)
        } else {
            0.0
        };
        FeatureFindings {
            active: self.active,
            mean,
            standard_deviation: variance.sqrt(),
            largest: self.largest,
            bin_width: self.histogram.bin_width(),
            histogram: self.histogram.counts().to_vec(),
            tokens: self.tokens.most_frequent(),
            top_contexts: self.top.into_contexts(),
            intervals: self.intervals.finish(self.largest),
        }
    }
}
