//! The works that are compared.

use std::fmt;

use anyhow::Result;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::measurement::Pair;
use crate::bench_peers::works;

/// A work that both sides do. The names are those of the result's `work`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Work {
    /// Logits at all positions of 16 rows of 200 tokens.
    #[value(name = "prefill_16x200")]
    Prefill16x200,
    /// 64 tokens after a prompt of 100, one row, greedy.
    #[value(name = "decode_1")]
    Decode1,
    /// The same with weights in bf16, against PyTorch in f32.
    #[value(name = "decode_1_bf16")]
    Decode1Bf16,
    /// 32 tokens after a prompt of 100, 32 rows that share the prompt, greedy.
    #[value(name = "decode_32")]
    Decode32,
    /// Gradients of a feature of the last block's output with respect to all residuals of 200 positions.
    GradLastLayer,
    /// A pass with every residual recorded, against the same pass without.
    RecordOverhead,
    /// A patched, recorded sweep, against the best that batching in PyTorch gives.
    SweepVsBatched,
    /// The same, against the studies' loop of one trial at a time.
    SweepVsLoop,
    /// A study's whole design to its causal table, against the studies' loop.
    WholeJob,
    /// Activation patching over layers and positions, against TransformerLens.
    PatchCells,
    /// A TopK training step with 4096 features, against PyTorch.
    #[value(name = "train_topk_4096")]
    TrainTopK4096,
    /// With 16384 features.
    #[value(name = "train_topk_16384")]
    TrainTopK16384,
    /// A ReLU training step with 4096 features, against PyTorch.
    #[value(name = "train_relu_4096")]
    TrainRelu4096,
    /// A TopK training step with 4096 features, against SAELens.
    #[value(name = "train_topk_4096_saelens")]
    TrainTopK4096Saelens,
    /// With 16384 features.
    #[value(name = "train_topk_16384_saelens")]
    TrainTopK16384Saelens,
    /// Activations of all layers to disk, against the forward pass alone.
    Extract,
}

/// Which way a ratio is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// glassbox's rate over the peer's.
    AtLeast(f64),
    /// glassbox's time over its own without the feature.
    AtMost(f64),
}

impl Target {
    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => value,
        }
    }

    /// Whether a ratio reaches it.
    pub fn reached_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(value) => ratio >= value,
            Self::AtMost(value) => ratio <= value,
        }
    }
}

/// One work, set up in both programs.
pub trait Contest {
    /// Lets both sides compute the same thing, and says what was compared.
    ///
    /// # Errors
    /// If the results differ by more than rounding.
    fn check(&mut self) -> Result<String>;

    /// Seconds that glassbox takes for one run.
    fn glassbox(&mut self) -> Result<f64>;

    /// Seconds that the other side takes for one run.
    fn peer(&mut self) -> Result<f64>;

    /// Measures both sides in turns, each once before to warm up.
    fn measure(&mut self, pairs: u32) -> Result<Vec<Pair>> {
        self.glassbox()?;
        self.peer()?;
        // Whoever comes second may find caches warmer or the processor hotter, so they take turns in that too.
        (0..pairs)
            .map(|pair| {
                if pair % 2 == 0 {
                    let glassbox = self.glassbox()?;
                    let peer = self.peer()?;
                    Ok(Pair { glassbox, peer })
                } else {
                    let peer = self.peer()?;
                    let glassbox = self.glassbox()?;
                    Ok(Pair { glassbox, peer })
                }
            })
            .collect()
    }

    /// Units of work in one run of glassbox and in one run of the peer.
    fn units(&self) -> (f64, f64);

    /// What else a reader must know, asked for after the measurements.
    fn note(&mut self) -> Result<String>;

    /// Versions of the peer's programs.
    fn versions(&self) -> String;
}

impl Work {
    /// All works, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Prefill16x200,
        Self::Decode1,
        Self::Decode1Bf16,
        Self::Decode32,
        Self::GradLastLayer,
        Self::RecordOverhead,
        Self::SweepVsBatched,
        Self::SweepVsLoop,
        Self::WholeJob,
        Self::PatchCells,
        Self::TrainTopK4096,
        Self::TrainTopK16384,
        Self::TrainRelu4096,
        Self::TrainTopK4096Saelens,
        Self::TrainTopK16384Saelens,
        Self::Extract,
    ];

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::GradLastLayer => "gradients/s",
            Self::RecordOverhead => "passes/s",
            Self::WholeJob => "trials/s",
            Self::PatchCells => "cells/s",
            _ => "tokens/s",
        }
    }

    /// Who does the same work.
    pub fn peer_name(self) -> &'static str {
        match self {
            Self::Prefill16x200 => "transformers, PyTorch f32",
            Self::Decode1 | Self::Decode32 => "transformers generate, f32",
            Self::Decode1Bf16 => "transformers generate, f32 of the same weights",
            Self::GradLastLayer => "PyTorch autograd",
            Self::RecordOverhead => "glassbox, nothing recorded",
            Self::SweepVsBatched => "PyTorch, batched, prompt shared, 128 rows",
            Self::SweepVsLoop | Self::WholeJob => "the studies' loop in PyTorch",
            Self::PatchCells => "TransformerLens get_act_patch_resid_pre",
            Self::TrainTopK4096 | Self::TrainTopK16384 | Self::TrainRelu4096 => {
                "PyTorch autograd and Adam, f32"
            }
            Self::TrainTopK4096Saelens | Self::TrainTopK16384Saelens => {
                "SAELens TopKTrainingSAE and Adam, f32"
            }
            Self::Extract => "glassbox, the forward pass alone",
        }
    }

    /// What the ratio is to reach.
    pub fn target(self) -> Target {
        match self {
            Self::Prefill16x200 | Self::GradLastLayer => Target::AtLeast(1.0),
            Self::Decode1 => Target::AtLeast(1.6),
            Self::Decode1Bf16 | Self::Decode32 => Target::AtLeast(3.0),
            Self::RecordOverhead => Target::AtMost(1.03),
            Self::SweepVsBatched => Target::AtLeast(1.8),
            Self::SweepVsLoop => Target::AtLeast(60.0),
            Self::WholeJob => Target::AtLeast(300.0),
            Self::PatchCells => Target::AtLeast(25.0),
            Self::TrainTopK4096 | Self::TrainTopK4096Saelens => Target::AtLeast(2.5),
            Self::TrainTopK16384 | Self::TrainTopK16384Saelens => Target::AtLeast(3.5),
            Self::TrainRelu4096 => Target::AtLeast(1.0),
            Self::Extract => Target::AtLeast(0.97),
        }
    }

    /// Measurements of each side where the caller does not say.
    pub fn pairs(self) -> u32 {
        match self {
            Self::RecordOverhead | Self::Extract => 15,
            Self::PatchCells => 3,
            Self::WholeJob => 7,
            _ => 9,
        }
    }

    /// Sets the work up in both programs.
    ///
    /// # Errors
    /// If a model or a peer can't be made ready.
    pub fn contest(self, setting: &Setting) -> Result<Box<dyn Contest>> {
        Ok(match self {
            Self::Prefill16x200 => Box::new(works::Prefill::new(setting)?),
            Self::Decode1 => Box::new(works::Decode::one_row(setting, "llama512")?),
            Self::Decode1Bf16 => Box::new(works::Decode::one_row(setting, "llama512_bf16")?),
            Self::Decode32 => Box::new(works::Decode::shared_prompt(setting)?),
            Self::GradLastLayer => Box::new(works::Gradient::new(setting)?),
            Self::RecordOverhead => Box::new(works::RecordOverhead::new(setting)?),
            Self::SweepVsBatched => Box::new(works::SweepVsBatched::new(setting)?),
            Self::SweepVsLoop => Box::new(works::SweepVsLoop::new(setting)?),
            Self::WholeJob => Box::new(works::WholeJob::new(setting)?),
            Self::PatchCells => Box::new(works::PatchCells::new(setting)?),
            Self::TrainTopK4096 => Box::new(works::TrainStep::top_k(setting, 4096)?),
            Self::TrainTopK16384 => Box::new(works::TrainStep::top_k(setting, 16_384)?),
            Self::TrainRelu4096 => Box::new(works::TrainStep::relu(setting, 4096)?),
            Self::TrainTopK4096Saelens => Box::new(works::TrainStep::top_k_saelens(setting, 4096)?),
            Self::TrainTopK16384Saelens => Box::new(works::TrainStep::top_k_saelens(setting, 16_384)?),
            Self::Extract => Box::new(works::Extraction::new(setting)?),
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum as _;
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => write!(f, "{self:?}"),
        }
    }
}
