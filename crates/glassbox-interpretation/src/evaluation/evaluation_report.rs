//! What an evaluation found.

use glassbox_model::site::Site;
use serde::{Serialize, Serializer};

use crate::evaluation::distribution_check::DistributionCheck;
use crate::evaluation::reconstruction_sums::ReconstructionFigures;
use crate::evaluation::sparsity_sums::SparsityFigures;

/// A figure with a 95 % bootstrap interval (percentile, whole documents resampled); no interval with fewer than two documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The figure of the data themselves.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// The model's mean next-token loss, in nats per token, over the predictions made at tokens that count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossFigures {
    /// Predictions.
    pub predictions: u64,
    /// The model as it is.
    pub clean: f64,
    /// With the reconstruction in place of the site's values.
    pub spliced: f64,
    /// With zeros there.
    pub zero_ablated: f64,
    /// With the site's mean there.
    pub mean_ablated: f64,
    /// Tokens that the mean was taken over.
    pub mean_from_tokens: u64,
    /// (zero − spliced) / (zero − clean).
    pub recovered_against_zero: Option<Figure>,
    /// (mean − spliced) / (mean − clean).
    pub recovered_against_mean: Option<Figure>,
    /// Mean KL(clean ‖ spliced), in nats.
    pub divergence_spliced: Figure,
    /// Mean KL(clean ‖ zero), in nats.
    pub divergence_zero: f64,
    /// Mean KL(clean ‖ mean), in nats.
    pub divergence_mean: f64,
}

/// The tokens that the policy of first positions leaves out, apart. They are never spliced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionZeroFigures {
    /// How well the dictionary would reconstruct them.
    pub reconstruction: ReconstructionFigures,
    /// Mean number of active features.
    pub l0: f64,
    /// The clean model's mean loss there, in nats; `None` without predictions.
    pub loss: Option<f64>,
}

/// Everything that was measured of one dictionary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The dictionary's name.
    pub name: String,
    /// The site that it reads.
    #[serde(serialize_with = "site_name")]
    pub site: Site,
    /// The site that it writes; another one for a transcoder.
    #[serde(serialize_with = "site_name")]
    pub output_site: Site,
    /// Documents that the tokens are from.
    pub documents: u64,
    /// How well it reconstructs.
    pub reconstruction: ReconstructionFigures,
    /// The explained variance with its interval.
    pub explained_variance: Option<Figure>,
    /// How many features are active.
    pub sparsity: SparsityFigures,
    /// What splicing it in costs the model; `None` where only stored activations were given.
    pub loss: Option<LossFigures>,
    /// Tokens left out by the policy of first positions; `None` where there are none.
    pub position_zero: Option<PositionZeroFigures>,
    /// Whether the input is what the dictionary was made for.
    pub distribution: DistributionCheck,
}

fn site_name<S: Serializer>(site: &Site, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(site)
}
