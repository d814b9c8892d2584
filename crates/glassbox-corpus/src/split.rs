//! Which part of a corpus a document belongs to.

use serde::{Deserialize, Serialize};

/// A part of a corpus. Documents are divided, never their tokens, and equal texts always fall on the same side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// For training.
    #[default]
    Train,
    /// For evaluation only.
    HeldOut,
}

impl Split {
    /// "training" or "held-out".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::HeldOut => "held-out",
        }
    }

    /// The part that a document's text belongs to: `held_out_share` of all texts, from 0 to 1, chosen by a hash of the text that
    /// `seed` keys. White space at both ends does not count.
    #[must_use]
    pub fn of_text(text: &str, held_out_share: f64, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("glassbox 2026 corpus: split of a document");
        hasher.update(&seed.to_le_bytes());
        hasher.update(text.trim().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // 53 bits are what a double holds exactly.
        let place = (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64;
        if place < held_out_share {
            Self::HeldOut
        } else {
            Self::Train
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_met_and_equal_texts_stay_together() {
        let held_out = |share, seed| {
            (0..20_000)
                .filter(|i| Split::of_text(&format!("text {i}"), share, seed) == Split::HeldOut)
                .count()
        };
        assert_eq!(held_out(0.0, 1), 0);
        assert_eq!(held_out(1.0, 1), 20_000);
        for seed in 0..3 {
            let count = held_out(0.1, seed);
            assert!((1850..2150).contains(&count), "{count}");
        }
        for i in 0..100 {
            let text = format!("text {i}");
            let side = |text: &str| Split::of_text(text, 0.5, 3);
            assert_eq!(side(&text), side(&format!("{text}\n")));
        }
    }
}
