//! What a dictionary is trained to do.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainingError};

/// The activation and the loss, in unit scale. The squared error is summed over columns and averaged over tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// f = max(z, 0); ‖x − x̂‖² + l1 · Σ f. The penalty counts f times the length of its decoder row, which is one.
    Relu {
        /// Coefficient of the penalty.
        l1: f64,
    },
    /// Gates π = W(x − b_dec) + b_gate decide, magnitudes max(e^r·W(x − b_dec) + b_mag, 0) measure;
    /// ‖x − x̂‖² + l1 · Σ max(π, 0) + ‖x − x̂(max(π, 0))‖² with the decoder held fixed in the last term
    /// (Rajamanoharan et al. 2024a).
    Gated {
        /// Coefficient of the penalty.
        l1: f64,
    },
    /// The k largest of z of every token, less those below zero; ‖x − x̂‖² (Gao et al. 2024).
    #[serde(rename = "topk")]
    TopK {
        /// Features kept per token.
        k: usize,
    },
    /// The n·k largest of z of a batch of n tokens; ‖x − x̂‖² (Bussmann et al. 2024). Written as JumpReLU with one
    /// threshold, the running mean of the least value kept.
    #[serde(rename = "batch_topk")]
    BatchTopK {
        /// Features kept per token on average.
        k: usize,
    },
    /// f = z where z > θ, one θ per feature; ‖x − x̂‖² + coefficient · (L0 / l0 − 1)², L0 the batch's mean number of
    /// active features (Rajamanoharan et al. 2024b). θ itself is trained, in f32, never its logarithm: the size of
    /// its steps does not depend on where it stands.
    #[serde(rename = "jumprelu")]
    JumpRelu {
        /// Active features per token to aim at.
        l0: f64,
        /// Weight of the distance from it.
        #[serde(default = "JumpReluDefaults::coefficient")]
        coefficient: f64,
        /// Width of the rectangle kernel of the straight-through estimate, in multiples of the first threshold.
        #[serde(default = "JumpReluDefaults::bandwidth")]
        bandwidth: f64,
    },
    /// As BatchTopK, on the mean of the squared errors of nested prefixes of the features (Bussmann et al. 2025).
    #[serde(rename = "matryoshka")]
    Matryoshka {
        /// Features kept per token on average.
        k: usize,
        /// Where the prefixes end, as shares of all features, rising; the last is 1.
        #[serde(default = "matryoshka_prefixes")]
        prefixes: Vec<f64>,
    },
}

struct JumpReluDefaults;

impl JumpReluDefaults {
    fn coefficient() -> f64 {
        1.0
    }

    fn bandwidth() -> f64 {
        0.5
    }
}

fn matryoshka_prefixes() -> Vec<f64> {
    vec![1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0]
}

impl Objective {
    /// The names that `architecture` may have.
    pub const NAMES: &str = "relu, gated, topk, batch_topk, jumprelu, matryoshka";

    /// JumpReLU with its usual coefficient and bandwidth.
    pub fn jump_relu(l0: f64) -> Self {
        Self::JumpRelu {
            l0,
            coefficient: JumpReluDefaults::coefficient(),
            bandwidth: JumpReluDefaults::bandwidth(),
        }
    }

    /// Matryoshka with its usual prefixes.
    pub fn matryoshka(k: usize) -> Self {
        Self::Matryoshka {
            k,
            prefixes: matryoshka_prefixes(),
        }
    }

    /// Its name, as in settings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relu { .. } => "relu",
            Self::Gated { .. } => "gated",
            Self::TopK { .. } => "topk",
            Self::BatchTopK { .. } => "batch_topk",
            Self::JumpRelu { .. } => "jumprelu",
            Self::Matryoshka { .. } => "matryoshka",
        }
    }

    /// Whether dead features may learn by reconstructing the residual error. Where a penalty on activity drives features
    /// off, it would work against itself.
    pub fn takes_auxiliary(&self) -> bool {
        !matches!(self, Self::Relu { .. } | Self::Gated { .. })
    }

    /// Where the nested prefixes of `features` features end; one prefix for all but Matryoshka.
    pub(crate) fn prefix_ends(&self, features: usize) -> Vec<u32> {
        match self {
            Self::Matryoshka { prefixes, .. } => prefixes
                .iter()
                .map(|share| (share * features as f64).round() as u32)
                .collect(),
            _ => vec![features as u32],
        }
    }

    /// Checks the numbers for `features` features.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn check(&self, features: usize) -> Result<()> {
        let wrong = |key: &'static str, found: String, expected: String| {
            Err(TrainingError::Setting {
                key: format!("objective.{key}"),
                found,
                expected,
            })
        };
        match self {
            Self::Relu { l1 } | Self::Gated { l1 } if !(l1.is_finite() && *l1 >= 0.0) => {
                wrong("l1", l1.to_string(), "a number of at least 0".to_owned())
            }
            Self::TopK { k } | Self::BatchTopK { k } | Self::Matryoshka { k, .. }
                if *k == 0 || *k > features =>
            {
                let expected = format!("1 to {features}, the number of features");
                wrong("k", k.to_string(), expected)
            }
            Self::JumpRelu { l0, .. } if !(*l0 > 0.0 && *l0 <= features as f64) => {
                let expected = format!("a number above 0 and up to {features}, the number of features");
                wrong("l0", l0.to_string(), expected)
            }
            Self::JumpRelu { coefficient, .. } if !(coefficient.is_finite() && *coefficient >= 0.0) => wrong(
                "coefficient",
                coefficient.to_string(),
                "a number of at least 0".to_owned(),
            ),
            Self::JumpRelu { bandwidth, .. } if !(bandwidth.is_finite() && *bandwidth > 0.0) => {
                wrong("bandwidth", bandwidth.to_string(), "a number above 0".to_owned())
            }
            Self::Matryoshka { prefixes, .. } => {
                let ends = self.prefix_ends(features);
                let rises = ends.windows(2).all(|pair| pair[0] < pair[1]);
                if rises && ends.first() != Some(&0) && ends.last().map(|&end| end as usize) == Some(features)
                {
                    return Ok(());
                }
                wrong(
                    "prefixes",
                    format!("{prefixes:?}"),
                    "rising shares of the features, each of at least one feature, the last 1".to_owned(),
                )
            }
            _ => Ok(()),
        }
    }
}
