//! A whole experiment in small: a random model that says words, random dictionaries, prompts and a scenario.

use std::fs;
use std::path::{Path, PathBuf};

use glassbox_dictionary::formats::write_glassbox;
use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryDescription, DictionaryParts, InputNormalisation, ModelReference,
    Precision, Provenance, StoredMatrix,
};
use glassbox_kernels::CpuBackend;
use glassbox_kernels::backend::StoredValues;
use glassbox_model::site::Site;

use super::{copy_folder, model_fixture, word_tokenizer};

/// The fixture that the experiment runs on.
pub const MODEL: &str = "llama_tied";
pub const WIDTH: usize = 32;
const VOCABULARY: usize = 67;
const LAYERS: u32 = 2;
/// Features of each dictionary.
pub const FEATURES: usize = 64;

/// Numbers in [-1, 1) that are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The model fixture with a tokenizer of words.
pub fn write_model(folder: &Path) {
    copy_folder(&model_fixture(MODEL), folder);
    fs::write(folder.join("tokenizer.json"), word_tokenizer(VOCABULARY)).unwrap();
}

/// A random ReLU dictionary of some width for the output of block `layer`.
pub fn write_dictionary(folder: &Path, layer: u32, width: usize) {
    let mut numbers = Numbers(u64::from(layer) + 1);
    let mut matrix = |scale: f32| -> Vec<u8> {
        (0..FEATURES * width)
            .flat_map(|_| (scale * numbers.next()).to_le_bytes())
            .collect()
    };
    let (encoder, decoder) = (matrix(0.5), matrix(0.3));
    let parts = DictionaryParts {
        description: DictionaryDescription {
            site: Site::ResidPost(layer),
            output_site: Site::ResidPost(layer),
            width,
            output_width: width,
            features: FEATURES,
            rule: ActivationRule::Relu,
            subtract_decoder_bias: false,
            input_normalisation: InputNormalisation::None,
            model: ModelReference::default(),
            provenance: Provenance::in_memory(),
        },
        encoder: StoredMatrix {
            values: StoredValues::F32(&encoder),
            transposed: false,
        },
        decoder: StoredMatrix {
            values: StoredValues::F32(&decoder),
            transposed: false,
        },
        skip: None,
        encoder_bias: vec![0.1; FEATURES],
        decoder_bias: vec![0.0; width],
        encoder_scale: None,
        decoder_scale: None,
    };
    let dictionary = Dictionary::from_parts(&CpuBackend, parts).unwrap();
    write_glassbox(&dictionary, folder, Precision::F32, None).unwrap();
}

/// Everything that a run needs, in one folder. Returns the path of the scenario.
pub fn write_experiment(folder: &Path, trials: u32) -> PathBuf {
    write_model(&folder.join("model"));
    for layer in 0..LAYERS {
        write_dictionary(&folder.join(format!("dictionaries/layer-{layer}")), layer, WIDTH);
    }
    fs::create_dir_all(folder.join("prompts")).unwrap();
    let mut numbers = Numbers(99);
    for (name, first) in [("calm", 5), ("wild", 35)] {
        for (kind, prompts) in [("select", 24), ("sweep", 4)] {
            let lines: String = (0..prompts)
                .map(|id| {
                    let word = |_| format!("w{}", first + ((numbers.next() + 1.0) * 1.99) as usize);
                    let text = (0..6).map(word).collect::<Vec<_>>().join(" ");
                    format!(
                        "{}\n",
                        serde_json::json!({ "id": format!("{kind}-{id}"), "text": text })
                    )
                })
                .collect();
            fs::write(folder.join(format!("prompts/{name}-{kind}.jsonl")), lines).unwrap();
        }
    }
    let path = folder.join("scenario.toml");
    fs::write(&path, scenario(trials)).unwrap();
    path
}

fn scenario(trials: u32) -> String {
    format!(
        r#"
name = "words"
description = "A random model says words."
model = "model"
dictionaries = "dictionaries"

[outcome]
choices = ["low", "high"]
target = "low"

[parser]
name = "last-word"
version = 1

[[parser.rules]]
pattern = 'w(?<amount>[3-6]\d)$'
outcome = "high"

[[parser.rules]]
pattern = 'w\d+$'
outcome = "low"

[[families]]
name = "calm"
select_prompts = "prompts/calm-select.jsonl"
sweep_prompts = "prompts/calm-sweep.jsonl"

[[families]]
name = "wild"
select_prompts = "prompts/wild-select.jsonl"
sweep_prompts = "prompts/wild-sweep.jsonl"

[select]
top_per_layer = 2

[sweep]
trials = {trials}
max_new_tokens = 6
temperature = 1.0
batch_rows = 16
unit_trials = 16

[causal]
permutations = 4

[pathways]
sources = 2
second_wave = 1
control_sources = 2

[words]
pattern = 'w\d+'
"#
    )
}

/// Every file of a run that must be the same after an equal run: the tables and the report, by name.
pub fn results(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    collect(run, run, &mut files);
    files.sort();
    assert!(
        files.iter().any(|(name, _)| name == "report.html"),
        "no report in {}",
        run.display()
    );
    assert!(
        files.iter().any(|(name, _)| name.starts_with("trials/")),
        "no trials in {}",
        run.display()
    );
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".parquet") || name == "report.html" {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

/// Asserts that two runs have the same results, naming the first file that differs.
pub fn assert_same_results(first: &Path, second: &Path) {
    let (first, second) = (results(first), results(second));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
    for ((name, one), (_, other)) in first.iter().zip(&second) {
        assert!(one == other, "{name} differs");
    }
}
