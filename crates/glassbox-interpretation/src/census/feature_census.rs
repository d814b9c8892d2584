//! A census of all features of a dictionary, pass by pass.

use glassbox_dictionary::SparseFeatures;
use rayon::prelude::*;

use crate::census::background_sample::{BackgroundContext, BackgroundSample};
use crate::census::feature_tally::{FeatureFindings, FeatureTally};
use crate::census::pass_tokens::PassTokens;
use crate::census::priority::priority;
use crate::census::settings::CensusSettings;
use crate::census::token_sample::{Correlated, TokenSample};
use crate::error::Result;
use crate::rows::PassRows;

/// Stream of the random numbers of sampled tokens.
const SAMPLE_STREAM: u64 = 0;

/// Stream of the random numbers of background contexts; those of features are odd.
const BACKGROUND_STREAM: u64 = 2;

/// What is gathered of all features of one dictionary. Memory depends on the features and the settings, not on the tokens; results
/// do not depend on threads.
#[derive(Debug)]
pub struct FeatureCensus {
    settings: CensusSettings,
    tallies: Vec<FeatureTally>,
    sample: TokenSample,
    background: BackgroundSample,
    /// All tokens so far, padding not counted.
    seen: u64,
    /// Those that count.
    tokens: u64,
    /// Active features over all of these.
    active: u64,
}

/// What a census found.
#[derive(Clone, Debug, PartialEq)]
pub struct CensusFindings {
    /// Tokens that count.
    pub tokens: u64,
    /// Mean number of active features per token.
    pub l0: f64,
    /// Tokens that correlations were computed on.
    pub sampled_tokens: usize,
    /// What was gathered of each feature [features].
    pub features: Vec<FeatureFindings>,
    /// The features correlated with each [features].
    pub correlated: Vec<Vec<Correlated>>,
    /// Contexts of tokens at random.
    pub background: Vec<BackgroundContext>,
}

impl FeatureCensus {
    /// An empty census of so many features.
    ///
    /// # Errors
    /// Those of [`CensusSettings::check`].
    pub fn new(features: usize, settings: &CensusSettings) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            settings: settings.clone(),
            tallies: vec![FeatureTally::new(settings); features],
            sample: TokenSample::new(settings.sampled_tokens),
            background: BackgroundSample::new(settings.background_contexts),
            seen: 0,
            tokens: 0,
            active: 0,
        })
    }

    /// Adds the tokens of a pass, given the active features of those that count.
    pub fn push(&mut self, pass: &PassRows<'_>, features: &SparseFeatures) {
        let tokens = PassTokens::new(pass, self.seen);
        let priorities = |stream| -> Vec<u64> {
            (0..pass.kept.len() as u32)
                .map(|kept| priority(self.settings.seed, stream, tokens.token_number(kept)))
                .collect()
        };
        self.sample.offer(features, &priorities(SAMPLE_STREAM));
        let drawn = priorities(BACKGROUND_STREAM);
        self.background.offer(&tokens, &drawn, features, &self.settings);
        let (offsets, entries) = by_feature(features, self.tallies.len());
        let settings = &self.settings;
        self.tallies
            .par_iter_mut()
            .enumerate()
            .filter(|(feature, _)| offsets[*feature] < offsets[feature + 1])
            .for_each(|(feature, tally)| {
                let entries = &entries[offsets[feature]..offsets[feature + 1]];
                tally.push(feature as u64, entries, &tokens, settings);
            });
        self.seen += pass.tokens() as u64;
        self.tokens += pass.kept.len() as u64;
        self.active += entries.len() as u64;
    }

    /// Tokens that counted so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What was found.
    pub fn finish(self) -> CensusFindings {
        let features = self.tallies.len();
        let correlated = if self.settings.neighbours > 0 {
            self.sample.correlated(features, self.settings.neighbours)
        } else {
            vec![Vec::new(); features]
        };
        CensusFindings {
            tokens: self.tokens,
            l0: self.active as f64 / (self.tokens as f64).max(1.0),
            sampled_tokens: self.sample.len(),
            correlated,
            background: self.background.finish(),
            features: self.tallies.into_par_iter().map(FeatureTally::finish).collect(),
        }
    }
}

/// The entries of each feature, (row, value) by rising row: offsets [features + 1] and entries.
fn by_feature(features: &SparseFeatures, count: usize) -> (Vec<usize>, Vec<(u32, f32)>) {
    let mut offsets = vec![0; count + 1];
    for feature in &features.features {
        offsets[*feature as usize + 1] += 1;
    }
    for i in 0..count {
        offsets[i + 1] += offsets[i];
    }
    let mut next = offsets.clone();
    let mut entries = vec![(0, 0.0); features.features.len()];
    for (row, feature, value) in features.iter() {
        let place = &mut next[feature as usize];
        entries[*place] = (row as u32, value);
        *place += 1;
    }
    (offsets, entries)
}
