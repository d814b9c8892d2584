//! Contexts of tokens at random, with the features that are active anywhere in them: what a feature does not react to.

use std::collections::BTreeSet;

use glassbox_dictionary::SparseFeatures;

use crate::census::context::Context;
use crate::census::pass_tokens::PassTokens;
use crate::census::settings::CensusSettings;

/// A context around a token at random. Its activations are all zero: it is no context of a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct BackgroundContext {
    /// The context; its activation is zero.
    pub context: Context,
    /// Features that are active on any of its tokens, rising.
    pub active: Vec<u32>,
}

/// The contexts with the lowest random priorities, so many at most; texts once.
#[derive(Clone, Debug)]
pub(super) struct BackgroundSample {
    most: usize,
    contexts: Vec<(u64, BackgroundContext)>,
}

impl BackgroundSample {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            contexts: Vec::new(),
        }
    }

    /// Offers the kept tokens of a pass with their priorities and features.
    pub(super) fn offer(
        &mut self,
        tokens: &PassTokens<'_>,
        priorities: &[u64],
        features: &SparseFeatures,
        settings: &CensusSettings,
    ) {
        if self.most == 0 {
            return;
        }
        for (kept, priority) in (0..).zip(priorities) {
            let full = self.contexts.len() == self.most;
            if full && self.contexts.last().is_some_and(|(last, _)| priority >= last) {
                continue;
            }
            let context = tokens.context(&[(kept, 0.0)], 0, settings);
            if self
                .contexts
                .iter()
                .any(|(_, other)| other.context.same_text(&context))
            {
                continue;
            }
            let mut active = BTreeSet::new();
            for other in tokens.kept_within(kept, &context) {
                active.extend(features.row(other as usize).0);
            }
            let place = self.contexts.partition_point(|(other, _)| other < priority);
            let active = active.into_iter().collect();
            self.contexts
                .insert(place, (*priority, BackgroundContext { context, active }));
            self.contexts.truncate(self.most);
        }
    }

    /// The contexts, in random order.
    pub(super) fn finish(self) -> Vec<BackgroundContext> {
        self.contexts.into_iter().map(|(_, context)| context).collect()
    }
}
