//! Trains one dictionary on rows of f32 in a file and measures it on those of another: to compare settings, and this
//! trainer with others on equal data.
//!
//! `cargo run --release -p glassbox-training --example train_rows -- TRAIN.f32 HELD.f32 WIDTH TOKENS BATCH DICTIONARY_JSON`
//!
//! Rows are taken in the order of the file, from its start again when it ends. DICTIONARY_JSON are the settings of a dictionary:
//! `{"site": "blocks.1.hook_resid_post", "features": "16d", "objective": {"architecture": "topk", "k": 8}}`.

use std::time::Instant;

use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{DictionarySettings, HeldOutFigures, Preparation, StepShape, TrainingStep};

fn rows(path: &str) -> std::io::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, train, held_out, width, tokens, batch, settings] = arguments.as_slice() else {
        return Err("six arguments are needed: TRAIN.f32 HELD.f32 WIDTH TOKENS BATCH DICTIONARY_JSON".into());
    };
    let (train, held_out) = (rows(train)?, rows(held_out)?);
    let (width, tokens, batch): (usize, usize, usize) = (width.parse()?, tokens.parse()?, batch.parse()?);
    let settings: DictionarySettings = serde_json::from_str(settings)?;
    let site: Site = settings.site.parse()?;
    let survey = &train[..train.len().min(16384 * width)];
    let preparation = Preparation::measure((&settings.site, survey, width), None, settings.bias_start)?;
    let steps = tokens.div_ceil(batch);
    let shape = StepShape::autoencoder(width, settings.features.of_width(width));
    let mut step = TrainingStep::new(&CpuBackend, &settings, shape, preparation, steps as u64, batch)?;
    let started = Instant::now();
    let whole = train.len() / width / batch;
    let mut last = None;
    for i in 0..steps {
        let first = i % whole * batch * width;
        last = Some(step.step(&train[first..first + batch * width], batch)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let dictionary = step.trained((site, site), &Default::default())?.on(&CpuBackend)?;
    let figures = HeldOutFigures::measure(&dictionary, &held_out, None)?;
    println!(
        "EV {:.4}  L0 {:.2}  silent {:.2} %  dead {}  {:.0} tokens/s  (last batch: {:?})",
        figures.explained_variance,
        figures.l0,
        100.0 * figures.silent_share,
        step.dead_features().len(),
        tokens as f64 / seconds,
        last.map(|report| (1.0 - report.squared_error, report.l0))
    );
    Ok(())
}
