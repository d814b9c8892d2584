//! Which feature a row is about, in any of the spellings that logs use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A feature: block index and index in that block's dictionary. Shown as `L25-10096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeatureId {
    /// Block index, from 0.
    pub layer: u32,
    /// Index in the block's dictionary, from 0.
    pub feature: u32,
}

impl FeatureId {
    /// The layer that a text stands for: `25`, `L25` or `layer_25`.
    pub fn layer_from(text: &str) -> Option<u32> {
        let text = text.trim();
        let digits = ["layer_", "layer", "L", "l"]
            .into_iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        whole(digits)
    }

    /// The index that a text stands for: `17084`, `feature_17084`.
    pub fn index_from(text: &str) -> Option<u32> {
        let text = text.trim();
        whole(text.strip_prefix("feature_").unwrap_or(text))
    }
}

fn whole(digits: &str) -> Option<u32> {
    // `parse` alone would accept a plus sign.
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// A text that names no feature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no feature; write L25-10096 for feature 10096 of the dictionary after block 25")]
pub struct NotAFeature {
    /// The text.
    pub text: String,
}

impl FromStr for FeatureId {
    type Err = NotAFeature;

    /// Reads `L25-10096`, `layer_25_10096` and `25-10096`.
    fn from_str(text: &str) -> Result<Self, NotAFeature> {
        let trimmed = text.trim();
        let parts = match trimmed.strip_prefix("layer_") {
            Some(rest) => rest.split_once('_').or_else(|| rest.split_once('-')),
            None => trimmed.split_once('-').or_else(|| trimmed.split_once('_')),
        };
        parts
            .and_then(|(layer, feature)| {
                Some(Self {
                    layer: Self::layer_from(layer)?,
                    feature: Self::index_from(feature)?,
                })
            })
            .ok_or_else(|| NotAFeature {
                text: text.to_owned(),
            })
    }
}

impl fmt::Display for FeatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}-{}", self.layer, self.feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        let expected = FeatureId {
            layer: 25,
            feature: 17084,
        };
        for text in ["L25-17084", "layer_25_17084", "25-17084", " L25-17084 "] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "L25-17084");
        for layer in ["25", "L25", "layer_25", "layer25"] {
            assert_eq!(FeatureId::layer_from(layer), Some(25), "{layer}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "L25",
            "L-1-2",
            "L25-",
            "25",
            "L25-+1",
            "L25-1x",
            "L99999999999-1",
            "safe",
        ] {
            assert!(text.parse::<FeatureId>().is_err(), "{text}");
        }
    }
}
