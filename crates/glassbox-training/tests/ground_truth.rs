//! Known dictionaries and sparse codes: what training must find again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{
    BiasStart, DictionarySettings, FeatureCount, Objective, Preparation, Schedule, StepShape,
    TrainedDictionary, TrainingStep,
};
use support::Truth;

const WIDTH: usize = 32;
const TRUE_FEATURES: usize = 64;
const FEATURES: usize = 96;
const BATCH: usize = 512;

/// Trains on fresh rows in every step.
fn train(objective: Objective, steps: u64) -> (TrainedDictionary, Truth) {
    let mut truth = Truth::new(1, WIDTH, TRUE_FEATURES, 0.05);
    let mut settings = DictionarySettings::new(
        "blocks.0.hook_resid_post",
        FeatureCount::Number(FEATURES),
        objective,
    );
    settings.learning_rate = Some(3e-3);
    settings.schedule = Schedule::Linear;
    settings.dead_after = Some(20 * BATCH as u64);
    let survey = truth.rows(4096);
    let preparation = Preparation::measure(("rows", &survey, WIDTH), None, BiasStart::Mean).unwrap();
    let shape = StepShape::autoencoder(WIDTH, FEATURES);
    let mut step = TrainingStep::new(&CpuBackend, &settings, shape, preparation, steps, BATCH).unwrap();
    for _ in 0..steps {
        step.step(&truth.rows(BATCH), BATCH).unwrap();
    }
    let sites = (Site::ResidPost(0), Site::ResidPost(0));
    (step.trained(sites, &Default::default()).unwrap(), truth)
}

/// The mean over the true directions of the largest cosine with a decoder row.
fn mean_max_cosine(dictionary: &TrainedDictionary, truth: &Truth) -> f64 {
    let best = truth.directions.chunks_exact(WIDTH).map(|direction| {
        let cosines = dictionary.decoder.chunks_exact(WIDTH);
        cosines
            .map(|row| {
                row.iter()
                    .zip(direction)
                    .map(|(a, b)| f64::from(a * b))
                    .sum::<f64>()
            })
            .fold(f64::MIN, f64::max)
    });
    best.sum::<f64>() / (truth.directions.len() / WIDTH) as f64
}

#[test]
fn every_architecture_finds_the_directions_again() {
    let mut results = Vec::new();
    // About 3 of 64 directions are active in a row.
    for objective in [
        Objective::TopK { k: 4 },
        Objective::BatchTopK { k: 3 },
        // A prefix with fewer features than there are directions has to mix them; these have enough.
        Objective::Matryoshka {
            k: 3,
            prefixes: vec![0.75, 1.0],
        },
        Objective::jump_relu(4.0),
        Objective::Relu { l1: 0.1 },
        Objective::Gated { l1: 0.3 },
    ] {
        let name = objective.name();
        let (dictionary, truth) = train(objective, 1500);
        let found = mean_max_cosine(&dictionary, &truth);
        println!("{name}: mean max cosine {found:.4}");
        results.push((name, found));
    }
    for (name, found) in results {
        assert!(found >= 0.95, "{name}: mean max cosine {found}");
    }
}

#[test]
fn decoder_rows_keep_length_one() {
    let (dictionary, _) = train(Objective::TopK { k: 4 }, 50);
    for row in dictionary.decoder.chunks_exact(WIDTH) {
        let length: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "a decoder row has length {length}");
    }
}
