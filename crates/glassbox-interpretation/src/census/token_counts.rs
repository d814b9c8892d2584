//! The tokens that a feature is active on most often, in memory that does not grow.

/// Counts of the most frequent tokens (Space-Saving; Metwally, Agrawal, El Abbadi 2005): a token with more than n / counters
/// occurrences among n is certainly held, and its count is known up to the error held with it.
#[derive(Clone, Debug)]
pub struct TokenCounts {
    most: usize,
    tokens: Vec<u32>,
    counts: Vec<u64>,
    errors: Vec<u64>,
}

/// A token and how often it certainly occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// The token.
    pub token: u32,
    /// It occurred at least so often.
    pub at_least: u64,
}

impl TokenCounts {
    /// No tokens yet, and at most so many counters.
    pub fn new(counters: usize) -> Self {
        Self {
            most: counters,
            tokens: Vec::new(),
            counts: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Counts a token.
    pub fn push(&mut self, token: u32) {
        if let Some(place) = self.tokens.iter().position(|held| *held == token) {
            self.counts[place] += 1;
        } else if self.tokens.len() < self.most {
            self.tokens.push(token);
            self.counts.push(1);
            self.errors.push(0);
        } else if let Some((place, least)) = self
            .counts
            .iter()
            .copied()
            .enumerate()
            .min_by_key(|(_, count)| *count)
        {
            self.tokens[place] = token;
            self.errors[place] = least;
            self.counts[place] = least + 1;
        }
    }

    /// The tokens that certainly occurred more than once, most frequent first; of equals the lower id.
    pub fn most_frequent(&self) -> Vec<TokenCount> {
        let mut found: Vec<TokenCount> = self
            .tokens
            .iter()
            .zip(self.counts.iter().zip(&self.errors))
            .map(|(token, (count, error))| TokenCount {
                token: *token,
                at_least: count - error,
            })
            .filter(|found| found.at_least > 1)
            .collect();
        found.sort_by_key(|found| (std::cmp::Reverse(found.at_least), found.token));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_tokens_are_found_among_many() {
        let mut counts = TokenCounts::new(8);
        for i in 0..10_000_u32 {
            counts.push(match i % 10 {
                0..4 => 7,
                4..6 => 3,
                _ => 100 + i,
            });
        }
        let found = counts.most_frequent();
        assert_eq!(found[0].token, 7);
        assert!((3000..=4000).contains(&found[0].at_least), "{found:?}");
        assert_eq!(found[1].token, 3);
    }

    #[test]
    fn few_tokens_are_counted_exactly() {
        let mut counts = TokenCounts::new(4);
        [5, 5, 9, 2, 2, 2]
            .into_iter()
            .for_each(|token| counts.push(token));
        let expected = [(2, 3), (5, 2)].map(|(token, at_least)| TokenCount { token, at_least });
        assert_eq!(counts.most_frequent(), expected);
    }
}
