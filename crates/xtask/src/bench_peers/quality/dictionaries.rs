//! Training in each program, and measuring what came out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use glassbox_corpus::MemoryActivations;
use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryParts, ModelReference, StoredMatrix, formats,
};
use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::{Backend as _, CpuBackend};
use glassbox_training::{
    DictionarySettings, FeatureCount, HeldOutFigures, Objective, TrainSettings, Trainer, TrainerFiles,
    WrittenFormat,
};
use serde_json::json;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::environment::Environment;
use crate::bench_peers::quality::rows::Rows;

/// Features per value of a row.
const EXPANSION: usize = 16;
/// A row's width over the features that are active on it.
const WIDTH_PER_ACTIVE: usize = 8;
/// Tokens of a step, in every program.
const BATCH: usize = 1024;
/// The peers' learning rate: of 3e-4, 1e-3 and 3e-3 the best one for all on these activations (stories260k, seed 0), far above their
/// own defaults.
const PEERS_LEARNING_RATE: f64 = 3e-3;
/// What a finished training of a peer was asked for.
const DONE: &str = "done.json";
/// Rows that thresholds are scaled on.
const SCALING_ROWS: usize = 20_000;

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// k features per token.
    TopK,
    /// A threshold per feature, aimed at an L0.
    JumpRelu,
}

impl Architecture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TopK, Self::JumpRelu];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopK => "topk",
            Self::JumpRelu => "jumprelu",
        }
    }
}

/// Who trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one.
    Glassbox,
    /// SAELens.
    Saelens,
    /// dictionary_learning.
    DictionaryLearning,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Glassbox, Self::Saelens, Self::DictionaryLearning];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glassbox => "glassbox",
            Self::Saelens => "saelens",
            Self::DictionaryLearning => "dictionary_learning",
        }
    }
}

/// One training.
#[derive(Clone, Debug)]
pub struct Run {
    architecture: Architecture,
    features: usize,
    active: usize,
    seed: u64,
    out: PathBuf,
}

/// What came of it, on held-out rows.
#[derive(Clone, Copy, Debug)]
pub struct RunOutcome {
    /// As trained.
    pub trained: HeldOutFigures,
    /// With all thresholds scaled by one factor so that training rows have the L0 asked for; the same where there are no
    /// thresholds.
    pub at_equal_l0: HeldOutFigures,
}

impl Run {
    /// The training of these rows with a seed.
    pub fn new(rows: &Rows, architecture: Architecture, program: Program, seed: u64) -> Self {
        Self {
            architecture,
            features: EXPANSION * rows.width,
            active: rows.width / WIDTH_PER_ACTIVE,
            seed,
            out: rows
                .folder
                .join(program.name())
                .join(format!("{}-{seed}", architecture.name())),
        }
    }
}

/// Trains all runs in one program and measures them.
///
/// # Errors
/// If a training fails or its dictionary can't be read.
pub fn train(program: Program, rows: &Rows, runs: &[Run], setting: &Setting) -> Result<Vec<RunOutcome>> {
    match program {
        Program::Glassbox => runs.iter().try_for_each(|run| train_here(rows, run))?,
        _ => train_in_peer(program, rows, runs, setting)?,
    }
    runs.iter()
        .map(|run| {
            let place = match program {
                Program::Glassbox => run.out.join("dictionaries").join("quality"),
                _ => run.out.clone(),
            };
            let dictionary: Dictionary = formats::load(&place, &CpuBackend)
                .with_context(|| format!("the dictionary in {}", place.display()))?;
            let scaled = at_l0(&dictionary, rows, run.active as f64)?;
            let trained = HeldOutFigures::measure(&dictionary, &rows.held_out, None)?;
            Ok(RunOutcome {
                at_equal_l0: match scaled {
                    Some(scaled) => HeldOutFigures::measure(&scaled, &rows.held_out, None)?,
                    None => trained,
                },
                trained,
            })
        })
        .collect()
}

/// Trains here, with the settings that a user gets, but for the batch.
fn train_here(rows: &Rows, run: &Run) -> Result<()> {
    clear(&run.out)?;
    let objective = match run.architecture {
        Architecture::TopK => Objective::TopK { k: run.active },
        Architecture::JumpRelu => Objective::jump_relu(run.active as f64),
    };
    let tokens = rows.train.len() / rows.width;
    let settings = TrainSettings {
        // Whole batches only, as in the peers.
        tokens: (tokens - tokens % BATCH) as u64,
        batch: Some(BATCH),
        seed: run.seed,
        evaluate_every: 0,
        checkpoint_every: 0,
        dictionaries: vec![DictionarySettings {
            name: Some("quality".to_owned()),
            seed: run.seed,
            ..DictionarySettings::new(
                rows.site.to_string(),
                FeatureCount::Number(run.features),
                objective,
            )
        }],
        ..TrainSettings::default()
    };
    let files = TrainerFiles {
        folder: run.out.clone(),
        format: WrittenFormat::Glassbox,
        model: ModelReference::default(),
    };
    let memory = |values: &[f32]| MemoryActivations::new(vec![(rows.site, rows.width, values.to_vec())]);
    let mut held_out = memory(&rows.held_out)?.held_out_from(0);
    let source = memory(&rows.train)?;
    Trainer::new(&CpuBackend, source, &mut held_out, settings, files, false)?.run(&mut |_| true)?;
    Ok(())
}

/// Trains in another program. What it has trained before in the same way, on the same rows, is taken as it is: such a
/// training takes minutes, and the program doesn't change.
fn train_in_peer(program: Program, rows: &Rows, runs: &[Run], setting: &Setting) -> Result<()> {
    for run in runs {
        let described = json!({
            "rows": rows.file, "rows_hash": rows.hash, "site": rows.site.to_string(),
            "architecture": run.architecture.name(), "features": run.features, "active": run.active,
            "seed": run.seed, "batch": BATCH, "learning_rate": PEERS_LEARNING_RATE, "out": run.out,
        });
        let done = run.out.join(DONE);
        if fs::read(&done).is_ok_and(|bytes| serde_json::from_slice(&bytes).ok() == Some(described.clone())) {
            continue;
        }
        clear(&run.out)?;
        fs::create_dir_all(&run.out).with_context(|| format!("make {}", run.out.display()))?;
        let (file, log) = (run.out.join("run.json"), run.out.join("log.txt"));
        let bytes = serde_json::to_vec(&described)?;
        fs::write(&file, &bytes).with_context(|| format!("write {}", file.display()))?;
        let errors = fs::File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command =
            Environment::TransformerLens.script(&setting.environments, "train_dictionaries.py")?;
        let status = command
            .arg(program.name())
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::from(errors))
            .status()
            .with_context(|| format!("start {command:?}"))?;
        if !status.success() {
            bail!("{} failed; its messages are in {}", program.name(), log.display());
        }
        fs::write(&done, &bytes).with_context(|| format!("write {}", done.display()))?;
    }
    Ok(())
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(cause).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The dictionary with all thresholds times one factor, such that rows of training have this L0; `None` without thresholds.
fn at_l0(dictionary: &Dictionary, rows: &Rows, l0: f64) -> Result<Option<Dictionary>> {
    let ActivationRule::JumpRelu { threshold } = &dictionary.description().rule else {
        return Ok(None);
    };
    let some = &rows.train[..(SCALING_ROWS * rows.width).min(rows.train.len())];
    let scaled = |factor: f64| -> Result<Dictionary> {
        let threshold = threshold
            .iter()
            .map(|value| (f64::from(*value) * factor) as f32)
            .collect();
        with_rule(dictionary, ActivationRule::JumpRelu { threshold })
    };
    // More threshold, fewer features: bisect the factor's logarithm.
    let (mut low, mut high) = (-6.0_f64, 6.0_f64);
    for _ in 0..24 {
        let middle = f64::midpoint(low, high);
        if HeldOutFigures::measure(&scaled(middle.exp())?, some, None)?.l0 > l0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(scaled(high.exp())?))
}

fn with_rule(dictionary: &Dictionary, rule: ActivationRule) -> Result<Dictionary> {
    let backend = dictionary.backend();
    let ids: Vec<u32> = (0..dictionary.features() as u32).collect();
    let count = ids.len() * dictionary.width();
    let read = |buffer| -> Result<Vec<u8>> {
        let mut values = vec![0.0_f32; count];
        backend.read(&buffer, 0, &mut values)?;
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    };
    let encoder = read(dictionary.encoder_rows(&ids)?)?;
    let decoder = read(dictionary.decoder_rows(&ids)?)?;
    let matrix = |bytes| StoredMatrix {
        values: StoredValues::F32(bytes),
        transposed: false,
    };
    let mut description = dictionary.description().clone();
    description.rule = rule;
    let parts = DictionaryParts {
        description,
        encoder: matrix(&encoder),
        decoder: matrix(&decoder),
        skip: None,
        encoder_bias: dictionary.encoder_bias().to_vec(),
        decoder_bias: dictionary.decoder_bias().to_vec(),
        encoder_scale: None,
        decoder_scale: None,
    };
    Ok(Dictionary::from_parts(backend, parts)?)
}
