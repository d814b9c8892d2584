//! Every feature of a dictionary in one pass over a corpus.
//!
//! A pass goes through the model once for all dictionaries ([`run_census`]); what it adds per feature is bounded: the best contexts,
//! a uniform sample of contexts per interval of activation, a histogram, the most frequent tokens, and for all features together
//! a uniform sample of tokens, from which correlations are computed. Nothing grows with the corpus, and nothing depends on threads.

mod activation_histogram;
mod background_sample;
mod context;
mod feature_census;
mod feature_tally;
mod interval_sample;
mod pass_tokens;
pub(crate) mod priority;
mod run_census;
mod settings;
mod token_counts;
mod token_sample;
mod top_contexts;

pub use activation_histogram::ActivationHistogram;
pub use background_sample::BackgroundContext;
pub use context::Context;
pub use feature_census::{CensusFindings, FeatureCensus};
pub use feature_tally::FeatureFindings;
pub use interval_sample::{IntervalSample, SampledInterval};
pub use run_census::run_census;
pub use settings::CensusSettings;
pub use token_counts::{TokenCount, TokenCounts};
pub use token_sample::{Correlated, TokenSample};
pub use top_contexts::TopContexts;
