//! Tokens per second of a training step, as `shared/baselines` times PyTorch's: normal rows, d = 512, batch 4096.
//!
//! `cargo run --release -p glassbox-training --example training_speed -- [features] [topk|relu|jumprelu|batch_topk] [repetitions]`

use std::time::Instant;

use glassbox_kernels::CpuBackend;
use glassbox_training::{DictionarySettings, FeatureCount, Objective, Preparation, StepShape, TrainingStep};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let features = arguments.get(1).map_or(Ok(4096), |text| text.parse())?;
    let repetitions: usize = arguments.get(3).map_or(Ok(5), |text| text.parse())?;
    let objective = match arguments.get(2).map(String::as_str) {
        None | Some("topk") => Objective::TopK { k: 50 },
        Some("relu") => Objective::Relu { l1: 1e-3 },
        Some("jumprelu") => Objective::jump_relu(50.0),
        Some("batch_topk") => Objective::BatchTopK { k: 50 },
        Some(other) => return Err(format!("unknown objective {other}; known: {}", Objective::NAMES).into()),
    };
    let (width, batch) = (512, 4096);
    let mut state = 1u64;
    // A sum of four uniform numbers is normal enough to time.
    let rows: Vec<f32> = (0..batch * width)
        .map(|_| {
            (0..4)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
                })
                .sum()
        })
        .collect();
    let settings = DictionarySettings::new(
        "blocks.0.hook_resid_post",
        FeatureCount::Number(features),
        objective,
    );
    let shape = StepShape::autoencoder(width, features);
    let preparation = Preparation::none(width, width);
    let mut step = TrainingStep::new(&CpuBackend, &settings, shape, preparation, 1_000_000, batch)?;
    step.step(&rows, batch)?;
    let mut seconds: Vec<f64> = Vec::new();
    for _ in 0..repetitions {
        let started = Instant::now();
        let report = step.step(&rows, batch)?;
        seconds.push(started.elapsed().as_secs_f64());
        eprintln!(
            "{:.1} ms, L0 {:.1}, error {:.4}",
            1e3 * seconds[seconds.len() - 1],
            report.l0,
            report.squared_error
        );
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{features} features: {:.0} tokens/s",
        batch as f64 / seconds[seconds.len() / 2]
    );
    Ok(())
}
