//! Negative log-likelihood of held-out text, over whole documents and over responses alone.

/// Sums of one evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Likelihood {
    /// Sum over all tokens after BOS, nats.
    pub all: f64,
    /// Number of those tokens.
    pub all_tokens: usize,
    /// Sum over response tokens, EOS included, nats.
    pub response: f64,
    /// Number of those tokens.
    pub response_tokens: usize,
}

impl Likelihood {
    /// Adds one token's negative log-likelihood.
    pub fn add(&mut self, nats: f64, is_response: bool) {
        self.all += nats;
        self.all_tokens += 1;
        if is_response {
            self.response += nats;
            self.response_tokens += 1;
        }
    }

    /// Adds the sums of another evaluation.
    pub fn merge(&mut self, other: &Self) {
        self.all += other.all;
        self.all_tokens += other.all_tokens;
        self.response += other.response;
        self.response_tokens += other.response_tokens;
    }

    /// Perplexity over prompt and response.
    pub fn perplexity(&self) -> f64 {
        (self.all / self.all_tokens as f64).exp()
    }

    /// Perplexity over the response alone.
    pub fn response_perplexity(&self) -> f64 {
        (self.response / self.response_tokens as f64).exp()
    }
}
