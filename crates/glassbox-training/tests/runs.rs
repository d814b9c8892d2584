//! Whole runs: resuming, threads, failures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use glassbox_corpus::{ActivationSource, MemoryActivations};
use glassbox_dictionary::formats;
use glassbox_kernels::CpuBackend;
use glassbox_model::site::Site;
use glassbox_training::{
    DictionarySettings, FeatureCount, HistoryLine, Objective, Outcome, Schedule, TrainSettings, Trainer,
    TrainerFiles, TrainingError, WrittenFormat,
};
use support::Truth;

const SITE: &str = "blocks.0.hook_resid_post";
const OTHER: &str = "blocks.0.hook_mlp_out";

/// Two sites, of which the second is the first with its columns reversed.
fn source() -> MemoryActivations {
    let rows = Truth::new(5, 16, 24, 0.1).rows(1500);
    let reversed = rows
        .chunks_exact(16)
        .flat_map(|row| row.iter().rev().take(12).copied())
        .collect();
    MemoryActivations::new(vec![
        (Site::ResidPost(0), 16, rows),
        (Site::MlpOut(0), 12, reversed),
    ])
    .unwrap()
    .held_out_from(1300)
    .with_batch(100)
}

/// Every objective, and a transcoder with a skip connection.
fn settings() -> TrainSettings {
    let of = |objective| {
        let mut dictionary = DictionarySettings::new(SITE, FeatureCount::Multiple(2), objective);
        dictionary.learning_rate = Some(2e-3);
        dictionary.schedule = Schedule::Cosine;
        // Features die fast enough for the auxiliary loss to matter.
        dictionary.dead_after = Some(256);
        dictionary
    };
    let mut dictionaries: Vec<DictionarySettings> = [
        Objective::TopK { k: 3 },
        Objective::BatchTopK { k: 3 },
        Objective::matryoshka(3),
        Objective::jump_relu(3.0),
        Objective::Relu { l1: 0.05 },
        Objective::Gated { l1: 0.05 },
    ]
    .map(of)
    .to_vec();
    let mut transcoder = of(Objective::TopK { k: 4 });
    transcoder.name = Some("transcoder".to_owned());
    transcoder.output_site = Some(OTHER.to_owned());
    transcoder.skip = true;
    dictionaries.push(transcoder);
    TrainSettings {
        tokens: 64 * 30,
        batch: Some(64),
        shuffle: 500,
        seed: 3,
        held_out_tokens: 150,
        survey_tokens: 800,
        evaluate_every: 10,
        checkpoint_every: 7,
        history_every: 1,
        dictionaries,
    }
}

fn files(folder: &Path) -> TrainerFiles {
    TrainerFiles {
        folder: folder.to_path_buf(),
        format: WrittenFormat::Glassbox,
        model: Default::default(),
    }
}

/// Trains until step `stop`, or to the end.
fn train(folder: &Path, settings: &TrainSettings, stop: u64, resume: bool) -> Result<Outcome, TrainingError> {
    let mut trainer = Trainer::new(
        &CpuBackend,
        source(),
        &mut source(),
        settings.clone(),
        files(folder),
        resume,
    )?;
    trainer.run(&mut |progress| progress.step < stop)
}

/// All files below a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn assert_same_files(found: &Path, expected: &Path) {
    let (found, expected) = (contents(found), contents(expected));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &found {
        assert!(*bytes == expected[name], "{name} differs");
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let outcome = train(&whole, &settings(), u64::MAX, false).unwrap();
    assert!(outcome.finished);
    for stop in [3, 11, 20] {
        let outcome = train(&parts, &settings(), stop, true).unwrap();
        assert!(!outcome.finished && outcome.step == stop);
    }
    assert!(train(&parts, &settings(), u64::MAX, true).unwrap().finished);
    assert_same_files(&parts, &whole);
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    train(&whole, &settings(), u64::MAX, false).unwrap();
    let mut trainer = Trainer::new(
        &CpuBackend,
        source(),
        &mut source(),
        settings(),
        files(&killed),
        false,
    )
    .unwrap();
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trainer.run(&mut |progress| {
            assert!(progress.step < 17, "killed here");
            true
        })
    }));
    assert!(stopped.is_err());
    drop(trainer);
    // A checkpoint that was being written, too.
    fs::create_dir_all(killed.join("checkpoint/step-0000000017")).unwrap();
    fs::write(killed.join("checkpoint/step-0000000017/shuffle.bin"), b"half").unwrap();
    assert!(train(&killed, &settings(), u64::MAX, true).unwrap().finished);
    assert_same_files(&killed, &whole);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let run = folder.path().join(threads.to_string());
        pool.install(|| train(&run, &settings(), u64::MAX, false))
            .unwrap();
        assert_same_files(&run, &folder.path().join("1"));
    }
}

#[test]
fn what_is_written_is_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let outcome = train(&run, &settings(), u64::MAX, false).unwrap();
    for dictionary in &outcome.dictionaries {
        let record = dictionary.record.as_ref().unwrap();
        let stored = formats::open(dictionary.folder.as_ref().unwrap()).unwrap();
        assert_eq!(
            stored.training_record().as_ref(),
            Some(record),
            "{}",
            dictionary.name
        );
        // Batch figures in unit scale and held-out figures in raw units tell the same.
        let text = fs::read_to_string(run.join(format!("history/{}.jsonl", dictionary.name))).unwrap();
        let lines: Vec<HistoryLine> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 30);
        let last = lines.last().unwrap();
        let held_out = last.held_out.unwrap();
        assert_eq!(held_out.explained_variance, record.explained_variance);
        assert!(
            (held_out.explained_variance - last.explained_variance).abs() < 0.25,
            "{}: {} of a batch, {} held out",
            dictionary.name,
            last.explained_variance,
            held_out.explained_variance
        );
        assert!(
            (held_out.l0 - last.l0).abs() < 0.5 * last.l0 + 0.5,
            "{}",
            dictionary.name
        );
        assert!(last.loss < lines[0].loss, "{}", dictionary.name);
    }
}

#[test]
fn saelens_files_are_written_for_every_objective() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut settings = settings();
    settings.tokens = 64 * 2;
    // SAELens has no transcoder with TopK.
    settings.dictionaries[6].objective = Objective::Relu { l1: 0.05 };
    let mut files = files(&run);
    files.format = WrittenFormat::Saelens;
    let mut trainer = Trainer::new(&CpuBackend, source(), &mut source(), settings, files, false).unwrap();
    let outcome = trainer.run(&mut |_| true).unwrap();
    for dictionary in outcome.dictionaries {
        let dictionary = formats::load(dictionary.folder.as_ref().unwrap(), &CpuBackend).unwrap();
        assert_eq!(dictionary.features(), 32);
    }
}

#[test]
fn a_dictionary_that_diverges_is_given_up_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.dictionaries.truncate(2);
    settings.dictionaries[0].learning_rate = Some(1e38);
    let outcome = train(&folder.path().join("run"), &settings, u64::MAX, false).unwrap();
    let failure = outcome.dictionaries[0].failure.as_ref().unwrap();
    assert!(
        failure.contains("diverged") && failure.contains("learning rate"),
        "{failure}"
    );
    assert!(outcome.dictionaries[1].failure.is_none() && outcome.dictionaries[1].folder.is_some());
}

fn refused(change: impl Fn(&mut TrainSettings)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.dictionaries.truncate(2);
    change(&mut settings);
    train(&folder.path().join("run"), &settings, u64::MAX, false)
        .unwrap_err()
        .to_string()
}

#[test]
fn bad_settings_are_refused_with_what_is_expected() {
    let first =
        |change: fn(&mut DictionarySettings)| move |s: &mut TrainSettings| change(&mut s.dictionaries[0]);
    let k = refused(first(|d| d.objective = Objective::TopK { k: 33 }));
    assert!(k.contains("k` is 33") && k.contains("1 to 32"), "{k}");
    let site = refused(first(|d| d.site = "blocks.7.hook_resid_post".to_owned()));
    assert!(
        site.contains("blocks.7") && site.contains(SITE) && site.contains(OTHER),
        "{site}"
    );
    let rate = refused(first(|d| d.learning_rate = Some(0.0)));
    assert!(rate.contains("learning_rate"), "{rate}");
    let twice = refused(|s| s.dictionaries[1].name = Some(s.dictionaries[0].name()));
    assert!(twice.contains("name"), "{twice}");
    let batch = refused(|s| s.batch = Some(501));
    assert!(batch.contains("shuffle"), "{batch}");
    let prefixes = refused(first(|d| {
        d.objective = Objective::Matryoshka {
            k: 2,
            prefixes: vec![0.5, 0.25, 1.0],
        }
    }));
    assert!(prefixes.contains("prefixes"), "{prefixes}");
}

#[test]
fn activations_without_variance_or_held_out_rows_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.dictionaries.truncate(1);
    let new = |mut source: MemoryActivations, name: &str| {
        let files = files(&folder.path().join(name));
        Trainer::new(
            &CpuBackend,
            source.clone(),
            &mut source,
            settings.clone(),
            files,
            false,
        )
        .map(|_| ())
        .unwrap_err()
    };
    let rows = || vec![(Site::ResidPost(0), 16, vec![2.5; 16 * 1000])];
    let constant = MemoryActivations::new(rows()).unwrap().held_out_from(900);
    let error = new(constant, "constant");
    assert!(matches!(error, TrainingError::NoVariance { .. }), "{error}");
    let none = MemoryActivations::new(rows()).unwrap();
    let error = new(none, "none");
    assert!(
        matches!(error, TrainingError::TooFewTokens { held_out: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_checkpoint_and_another_run_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, &settings(), 8, false).unwrap();
    let again = train(&run, &settings(), u64::MAX, false).unwrap_err().to_string();
    assert!(again.contains("--resume"), "{again}");
    let mut other = settings();
    other.seed = 4;
    let error = train(&run, &other, u64::MAX, true).unwrap_err().to_string();
    assert!(error.contains("other settings"), "{error}");
    for name in ["transcoder.safetensors", "shuffle.bin"] {
        let path = run.join("checkpoint/step-0000000008").join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        let error = train(&run, &settings(), u64::MAX, true).unwrap_err().to_string();
        assert!(
            error.contains("truncated") && error.contains(name) && error.contains("remove"),
            "{error}"
        );
        fs::write(&path, &bytes).unwrap();
    }
    // Without the damaged checkpoint the run goes on from the one before.
    fs::remove_dir_all(run.join("checkpoint/step-0000000008")).unwrap();
    assert!(train(&run, &settings(), u64::MAX, true).unwrap().finished);
}

#[test]
fn a_row_that_is_not_finite_is_named() {
    let dictionary = &settings().dictionaries[0];
    let shape = glassbox_training::StepShape::autoencoder(16, 32);
    let preparation = glassbox_training::Preparation::none(16, 16);
    let mut step =
        glassbox_training::TrainingStep::new(&CpuBackend, dictionary, shape, preparation, 10, 20).unwrap();
    let mut rows = Truth::new(5, 16, 24, 0.1).rows(20);
    rows[7 * 16 + 3] = f32::NAN;
    let error = step.step(&rows, 20).unwrap_err();
    assert!(
        matches!(
            error,
            TrainingError::NotFinite {
                row: 7,
                column: 3,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(source().sites().len(), 2);
}
