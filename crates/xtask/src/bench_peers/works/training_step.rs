//! One step of dictionary training on a batch of 4096 rows of width 512.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use glassbox_dictionary::ModelReference;
use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{
    DictionarySettings, FeatureCount, Objective, Preparation, Schedule, StepReport, StepShape,
    TrainedDictionary, TrainingStep,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::comparison::close;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::inputs::normal_rows;
use crate::bench_peers::peer::{Peer, tensor};
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const WIDTH: usize = 512;
const BATCH: usize = 4096;
const ACTIVE: usize = 50;
const L1: f64 = 1e-3;
const LEARNING_RATE: f64 = 3e-4;
const SITE: &str = "blocks.0.hook_resid_post";
/// Relative difference of the losses.
const TOLERANCE: f32 = 1e-4;
/// Mean difference of the weights after a step, over the length of a step.
const WEIGHT_TOLERANCE: f64 = 1e-2;

/// A step here and in a peer.
pub struct TrainStep {
    step: TrainingStep<CpuBackend>,
    rows: Vec<f32>,
    peer: Peer,
    /// Whether the peer's step is the same arithmetic up to clipping and the length of decoder rows.
    plain: bool,
    features: usize,
}

impl TrainStep {
    /// TopK with 50 of so many features, against PyTorch by hand.
    ///
    /// # Errors
    /// If a side can't be made ready.
    pub fn top_k(setting: &Setting, features: usize) -> Result<Self> {
        Self::new(
            setting,
            features,
            Objective::TopK { k: ACTIVE },
            Environment::Torch,
        )
    }

    /// The same against SAELens.
    ///
    /// # Errors
    /// If a side can't be made ready.
    pub fn top_k_saelens(setting: &Setting, features: usize) -> Result<Self> {
        Self::new(
            setting,
            features,
            Objective::TopK { k: ACTIVE },
            Environment::TransformerLens,
        )
    }

    /// ReLU with an L1 penalty, against PyTorch by hand.
    ///
    /// # Errors
    /// If a side can't be made ready.
    pub fn relu(setting: &Setting, features: usize) -> Result<Self> {
        Self::new(setting, features, Objective::Relu { l1: L1 }, Environment::Torch)
    }

    fn new(
        setting: &Setting,
        features: usize,
        objective: Objective,
        environment: Environment,
    ) -> Result<Self> {
        let architecture = objective.name();
        let settings = DictionarySettings {
            learning_rate: Some(LEARNING_RATE),
            schedule: Schedule::Constant,
            warm_up: 0.0,
            sparsity_warm_up: 0.0,
            ..DictionarySettings::new(SITE, FeatureCount::Number(features), objective)
        };
        let shape = StepShape::autoencoder(WIDTH, features);
        let preparation = Preparation::none(WIDTH, WIDTH);
        let step = TrainingStep::new(&CpuBackend, &settings, shape, preparation, 1_000_000, BATCH)?;
        let rows = normal_rows(7, BATCH, WIDTH);
        let start = trained(&step)?;
        let file = setting.data.join(format!("training_{features}.safetensors"));
        write(&file, &start, &rows, features)?;
        let mut peer = Peer::start(environment, setting)?;
        let plain = environment == Environment::Torch;
        let fields = if plain {
            json!({
                "file": file, "architecture": architecture, "active": ACTIVE, "l1_coefficient": L1,
                "learning_rate": LEARNING_RATE,
            })
        } else {
            json!({"file": file, "active": ACTIVE, "learning_rate": LEARNING_RATE})
        };
        peer.prepare("training_step", fields)?;
        Ok(Self {
            step,
            rows,
            peer,
            plain,
            features,
        })
    }

    fn run(&mut self) -> Result<StepReport> {
        Ok(self.step.step(&self.rows, BATCH)?)
    }
}

impl Contest for TrainStep {
    fn check(&mut self) -> Result<String> {
        let report = self.run()?;
        let theirs = self.peer.check()?;
        let loss = tensor(&theirs, "loss")?
            .values
            .first()
            .copied()
            .context("the peer's loss is empty")?;
        let ours = report.loss as f32;
        close("loss over the peer's", &[ours / loss], &[1.0], TOLERANCE)?;
        let ours = trained(&self.step)?;
        // What the decoder does differs: here its rows keep their length. The encoder's step is Adam's first, of the size of
        // the learning rate wherever there is a gradient at all.
        let difference = mean_difference(&ours.encoder, &tensor(&theirs, "encoder")?.values)? / LEARNING_RATE;
        ensure!(
            !self.plain || difference < WEIGHT_TOLERANCE,
            "the encoders differ by {difference} of a step on average"
        );
        Ok(format!(
            "loss {loss:.2} on both sides; encoder after the step: mean |Δ| {difference:.1e} of a step"
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        seconds(|| self.run().map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        self.peer.run()
    }

    fn units(&self) -> (f64, f64) {
        (BATCH as f64, BATCH as f64)
    }

    fn note(&mut self) -> Result<String> {
        let more = if self.plain {
            "glassbox clips the gradient and keeps decoder rows at unit length besides, which the peer does not"
        } else {
            "both clip the gradient; glassbox keeps decoder rows at unit length besides"
        };
        Ok(format!(
            "one step of {BATCH} normal rows, d = {WIDTH}, {} features: forward, backward, Adam, f32; {more}",
            self.features
        ))
    }

    fn versions(&self) -> String {
        self.peer.versions().to_owned()
    }
}

fn trained(step: &TrainingStep<CpuBackend>) -> Result<TrainedDictionary> {
    let site = Site::ResidPost(0);
    Ok(step.trained((site, site), &ModelReference::default())?)
}

fn mean_difference(ours: &[f32], theirs: &[f32]) -> Result<f64> {
    ensure!(
        ours.len() == theirs.len(),
        "{} weights here, {} in the peer",
        ours.len(),
        theirs.len()
    );
    let sum: f64 = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| f64::from((a - b).abs()))
        .sum();
    Ok(sum / ours.len() as f64)
}

/// The weights that both sides begin with, and the batch.
fn write(file: &Path, start: &TrainedDictionary, rows: &[f32], features: usize) -> Result<PathBuf> {
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let tensors = [
        ("encoder", bytes(&start.encoder), vec![features, WIDTH]),
        ("decoder", bytes(&start.decoder), vec![features, WIDTH]),
        ("rows", bytes(rows), vec![BATCH, WIDTH]),
    ];
    let views = tensors
        .iter()
        .map(|(name, bytes, shape)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, file).with_context(|| format!("write {}", file.display()))?;
    Ok(file.to_path_buf())
}
