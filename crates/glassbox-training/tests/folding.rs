//! What is written computes what was trained: scale, centre and gates are folded into the dictionary exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{
    BiasStart, DictionarySettings, FeatureCount, HeldOutFigures, Objective, Preparation, StepShape,
    TrainingStep,
};
use support::Truth;

const WIDTH: usize = 12;
const OUTPUT_WIDTH: usize = 7;
const FEATURES: usize = 40;
const BATCH: usize = 256;
const STEPS: u64 = 400;

/// Rows to be written: a linear map of the rows read, with a mean of its own.
fn targets(rows: &[f32]) -> Vec<f32> {
    rows.chunks_exact(WIDTH)
        .flat_map(|row| (0..OUTPUT_WIDTH).map(move |j| 5.0 - j as f32 + 0.7 * row[j] - 0.4 * row[j + 3]))
        .collect()
}

#[test]
fn the_written_dictionary_has_the_error_and_the_features_of_the_step() {
    for objective in [
        Objective::Relu { l1: 0.05 },
        Objective::Gated { l1: 0.05 },
        Objective::TopK { k: 4 },
        Objective::jump_relu(4.0),
    ] {
        for (transcoder, skip) in [(false, false), (true, false), (true, true)] {
            let what = format!("{} transcoder {transcoder} skip {skip}", objective.name());
            let mut truth = Truth::new(3, WIDTH, 24, 0.1);
            let rows = truth.rows(BATCH);
            let written = targets(&rows);
            let mut settings = DictionarySettings::new(
                "blocks.0.hook_resid_pre",
                FeatureCount::Number(FEATURES),
                objective.clone(),
            );
            settings.skip = skip;
            settings.learning_rate = Some(3e-3);
            let (shape, output) = if transcoder {
                settings.output_site = Some("blocks.0.hook_resid_post".to_owned());
                let output = ("blocks.0.hook_resid_post", written.as_slice(), OUTPUT_WIDTH);
                (StepShape::transcoder(WIDTH, OUTPUT_WIDTH, FEATURES), Some(output))
            } else {
                (StepShape::autoencoder(WIDTH, FEATURES), None)
            };
            let input = ("blocks.0.hook_resid_pre", rows.as_slice(), WIDTH);
            let preparation = Preparation::measure(input, output, BiasStart::Mean).unwrap();
            let scale = preparation.output_scale;
            let mut step =
                TrainingStep::new(&CpuBackend, &settings, shape, preparation, STEPS, BATCH).unwrap();
            // The learning rate falls to nearly nothing: the last report is of nearly the last weights.
            let mut last = None;
            for _ in 0..STEPS {
                last = Some(if transcoder {
                    step.step_pair(&rows, &written, BATCH).unwrap()
                } else {
                    step.step(&rows, BATCH).unwrap()
                });
            }
            let last = last.unwrap();
            let output_site = if transcoder {
                Site::ResidPost(0)
            } else {
                Site::ResidPre(0)
            };
            let trained = step
                .trained((Site::ResidPre(0), output_site), &Default::default())
                .unwrap();
            let dictionary = trained.on(&CpuBackend).unwrap();
            let target = transcoder.then_some(written.as_slice());
            let figures = HeldOutFigures::measure(&dictionary, &rows, target).unwrap();
            let error = figures.mean_squared_error * scale * scale;
            assert!(
                (error - last.squared_error).abs() < 0.02 * last.squared_error + 1e-5,
                "{what}: error {error}, of the step {}",
                last.squared_error
            );
            assert!(
                (figures.l0 - last.l0).abs() < 0.05,
                "{what}: L0 {}, of the step {}",
                figures.l0,
                last.l0
            );
            assert!(
                (figures.l1 * scale - last.l1).abs() < 0.01 * last.l1,
                "{what}: L1 {}, of the step {}",
                figures.l1 * scale,
                last.l1
            );
        }
    }
}
