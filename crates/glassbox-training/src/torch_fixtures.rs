//! One and three steps of every objective against PyTorch's autograd (`tools/fixtures/make_training_fixtures.py`).

use std::path::Path;

use glassbox_kernels::CpuBackend;
use safetensors::SafeTensors;

use crate::settings::{Auxiliary, DictionarySettings, FeatureCount};
use crate::{Objective, Preparation, Schedule, StepShape, TrainingStep};

const NAMES: [&str; 9] = [
    "relu",
    "gated",
    "topk",
    "topk_dead",
    "batch_topk",
    "jumprelu",
    "matryoshka",
    "transcoder",
    "skip_transcoder",
];

struct Fixture {
    bytes: Vec<u8>,
    case: serde_json::Value,
    rate: f64,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.safetensors"));
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        Self {
            case: serde_json::from_str(&metadata["case"]).unwrap(),
            rate: metadata["rate"].parse().unwrap(),
            bytes,
        }
    }

    fn values(&self, name: &str) -> Option<Vec<f32>> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        let values = tensor.data().as_chunks::<4>().0.iter();
        Some(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn number(&self, key: &str) -> f64 {
        self.case[key].as_f64().unwrap()
    }

    fn objective(&self, features: usize) -> Objective {
        let count = |key: &str| self.case[key].as_u64().unwrap() as usize;
        match self.case["architecture"].as_str().unwrap() {
            "relu" => Objective::Relu {
                l1: self.number("l1"),
            },
            "gated" => Objective::Gated {
                l1: self.number("l1"),
            },
            "topk" => Objective::TopK { k: count("k") },
            "batch_topk" => Objective::BatchTopK { k: count("k") },
            "jumprelu" => Objective::JumpRelu {
                l0: self.number("l0"),
                coefficient: self.number("coefficient"),
                bandwidth: 1.0,
            },
            _ => Objective::Matryoshka {
                k: count("k"),
                prefixes: (self.case["ends"].as_array().unwrap().iter())
                    .map(|end| end.as_f64().unwrap() / features as f64)
                    .collect(),
            },
        }
    }

    /// The step as it stands before the first one, `dense` or sparse where there is a choice.
    fn step(&self, dense: bool) -> TrainingStep<CpuBackend> {
        let features = self.values("before.encoder_bias").unwrap().len();
        let width = self.values("before.encoder").unwrap().len() / features;
        let output_width = self.case["output_width"].as_u64().unwrap() as usize;
        let tied = self.case["tied"].as_bool().unwrap();
        let shape = StepShape {
            width,
            output_width,
            features,
            tied,
        };
        let mut settings = DictionarySettings::new(
            "blocks.0.hook_resid_post",
            FeatureCount::Number(features),
            self.objective(features),
        );
        if !tied {
            settings.output_site = Some("blocks.0.hook_mlp_out".to_owned());
        }
        settings.skip = self.values("before.skip").is_some();
        settings.learning_rate = Some(self.rate);
        settings.schedule = Schedule::Constant;
        settings.warm_up = 0.0;
        settings.sparsity_warm_up = 0.0;
        settings.dead_after = Some(1_000_000);
        if let Some(coefficient) = self.case["auxiliary"].as_f64() {
            let k = Some(self.case["auxiliary_k"].as_u64().unwrap() as usize);
            settings.auxiliary = Auxiliary { coefficient, k };
        }
        let mut preparation = Preparation::none(width, output_width);
        if let Some(centre) = self.values("centre") {
            preparation.input_mean = centre;
        }
        let mut step = TrainingStep::new(&CpuBackend, &settings, shape, preparation, 1000, 64).unwrap();
        for parameter in step.weights.all_mut() {
            let values = self.values(&format!("before.{}", parameter.name)).unwrap();
            glassbox_kernels::Backend::write(&CpuBackend, &mut parameter.values, 0, &values).unwrap();
        }
        for feature in self.case["dead"].as_array().unwrap() {
            step.silent_for[feature.as_u64().unwrap() as usize] = 1_000_000;
        }
        step.counters.bandwidth = self.case["bandwidth"].as_f64().map(|bandwidth| bandwidth as f32);
        step.counters.density = if dense { 1.0 } else { 0.0 };
        step
    }
}

fn assert_close(context: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-5,
            "{context}[{i}] is {found}, PyTorch has {expected}"
        );
    }
}

#[test]
fn steps_of_every_objective_equal_those_of_pytorch() {
    for name in NAMES {
        let fixture = Fixture::read(name);
        for dense in [false, true] {
            let mut step = fixture.step(dense);
            for i in 0..3 {
                let batch = fixture.values(&format!("batch.{i}")).unwrap();
                let n = batch.len() / step.shape().width;
                let report = match fixture.values(&format!("target.{i}")) {
                    None => step.step(&batch, n).unwrap(),
                    Some(target) => step.step_pair(&batch, &target, n).unwrap(),
                };
                let expected = fixture.case["losses"][i].as_f64().unwrap();
                assert!(
                    (report.loss - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                    "{name}, dense {dense}: the loss of step {i} is {}, PyTorch has {expected}",
                    report.loss
                );
                if i != 1 {
                    for parameter in step.weights.all() {
                        let context = format!("{name}, dense {dense}, step {}: {}", i + 1, parameter.name);
                        let expected = fixture
                            .values(&format!("after{}.{}", i + 1, parameter.name))
                            .unwrap();
                        assert_close(&context, &parameter.read(&CpuBackend).unwrap(), &expected);
                    }
                }
                // Dead features are revived after the first step there.
                step.silent_for.fill(0);
                step.counters.density = if dense { 1.0 } else { 0.0 };
            }
        }
    }
}
