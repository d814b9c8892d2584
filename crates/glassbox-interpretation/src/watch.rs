//! Whoever watches a long piece of work.

/// Hears of progress, and may ask for a stop.
pub trait Watch: Sync {
    /// So many tokens more were processed.
    fn advanced(&self, tokens: u64);

    /// Whether the work should end at the next opportunity.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn advanced(&self, _tokens: u64) {}
}
