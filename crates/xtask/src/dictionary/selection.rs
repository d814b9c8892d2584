//! BatchTopK (Bussmann, Leask and Nanda 2024): the `n * k` largest positive pre-activations of a batch of n
//! tokens stay, so that hard tokens may use more features than easy ones.

/// Active features of a batch, token by token.
#[derive(Default)]
pub struct Selection {
    /// (feature, activation) of all tokens, in order of token and feature.
    pub active: Vec<(u32, f32)>,
    /// End of each token's part of `active`.
    pub ends: Vec<usize>,
    candidates: Vec<f32>,
}

impl Selection {
    /// Keeps the `budget` largest positive entries of `scores` [n, features] (ties at the cut all stay).
    pub fn largest(&mut self, scores: &[f32], features: usize, budget: usize) {
        let cut = self.cut(scores, budget);
        self.active.clear();
        self.ends.clear();
        for row in scores.chunks_exact(features) {
            self.keep(row, cut);
        }
    }

    /// Keeps the `each` largest positive entries of every row of `scores` [n, features] (TopK; ties at the cut all
    /// stay).
    pub fn largest_of_each(&mut self, scores: &[f32], features: usize, each: usize) {
        self.active.clear();
        self.ends.clear();
        for row in scores.chunks_exact(features) {
            let cut = self.cut(row, each);
            self.keep(row, cut);
        }
    }

    /// The smallest of the `budget` largest positive scores.
    fn cut(&mut self, scores: &[f32], budget: usize) -> f32 {
        self.candidates.clear();
        self.candidates
            .extend(scores.iter().copied().filter(|&score| score > 0.0));
        if self.candidates.len() <= budget || budget == 0 {
            return f32::MIN_POSITIVE;
        }
        let at = self.candidates.len() - budget;
        *self.candidates.select_nth_unstable_by(at, f32::total_cmp).1
    }

    /// Adds a token whose active features are those that do not lie below `cut`.
    fn keep(&mut self, row: &[f32], cut: f32) {
        // Blocks without any active feature, nearly all of them, are passed over quickly.
        for (block, scores) in row.chunks(64).enumerate() {
            if scores
                .iter()
                .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
                < cut
            {
                continue;
            }
            for (index, &score) in scores.iter().enumerate() {
                if score >= cut {
                    self.active.push(((block * 64 + index) as u32, score));
                }
            }
        }
        self.ends.push(self.active.len());
    }

    /// Per token, the active features.
    pub fn rows(&self) -> impl Iterator<Item = &[(u32, f32)]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let row = &self.active[start..end];
            start = end;
            row
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_positive_scores_of_the_batch_stay() {
        let mut selection = Selection::default();
        selection.largest(&[3.0, -1.0, 2.0, 0.5, 0.1, -9.0], 3, 3);
        let rows: Vec<&[(u32, f32)]> = selection.rows().collect();
        assert_eq!(rows, vec![&[(0, 3.0), (2, 2.0)][..], &[(0, 0.5)]]);
        selection.largest(&[-1.0, 0.0, 1.0, -2.0], 2, 3);
        assert_eq!(selection.active, vec![(0, 1.0)]);
        selection.largest_of_each(&[3.0, -1.0, 2.0, 0.5, 0.1, -9.0], 3, 1);
        assert_eq!(selection.active, vec![(0, 3.0), (0, 0.5)]);
    }
}
