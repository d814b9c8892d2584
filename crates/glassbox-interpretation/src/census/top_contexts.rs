//! The contexts in which a feature is most active, without repeated texts.

use crate::census::context::Context;

/// The best so many contexts seen so far, best first. Every text is held once, at its highest activation.
#[derive(Clone, Debug)]
pub struct TopContexts {
    most: usize,
    contexts: Vec<Context>,
}

impl TopContexts {
    /// An empty list of at most so many.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            contexts: Vec::new(),
        }
    }

    /// Whether a context with this activation would be taken, its text not considered.
    pub fn takes(&self, activation: f32) -> bool {
        // Of equals the earlier stays, and contexts come in the order of their tokens.
        self.contexts.len() < self.most
            || self
                .contexts
                .last()
                .is_some_and(|last| activation > last.activation)
    }

    /// Offers a context; contexts come in the order of their tokens.
    pub fn offer(&mut self, context: Context) {
        if let Some(same) = self.contexts.iter().position(|other| other.same_text(&context)) {
            if !context.precedes(&self.contexts[same]) {
                return;
            }
            self.contexts.remove(same);
        }
        let place = self.contexts.partition_point(|other| other.precedes(&context));
        self.contexts.insert(place, context);
        self.contexts.truncate(self.most);
    }

    /// The contexts, best first.
    pub fn into_contexts(self) -> Vec<Context> {
        self.contexts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(token: u32, activation: f32, token_number: u64) -> Context {
        Context {
            document: 0,
            token_number,
            peak: 0,
            activation,
            tokens: vec![token],
            activations: vec![activation],
        }
    }

    #[test]
    fn the_best_stay_and_texts_are_held_once() {
        let mut top = TopContexts::new(3);
        let offered = [
            (1, 1.0),
            (2, 5.0),
            (1, 2.0),
            (3, 5.0),
            (4, 0.5),
            (2, 4.0),
            (5, 3.0),
        ];
        for (number, (token, activation)) in (0..).zip(offered) {
            if top.takes(activation) {
                top.offer(context(token, activation, number));
            }
        }
        let found: Vec<(u32, f32)> = top
            .into_contexts()
            .iter()
            .map(|context| (context.tokens[0], context.activation))
            .collect();
        assert_eq!(found, [(2, 5.0), (3, 5.0), (5, 3.0)]);
    }
}
