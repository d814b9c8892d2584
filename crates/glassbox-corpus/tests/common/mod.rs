//! The shipped model, and corpora made for it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use glassbox_corpus::{DocumentReader, DocumentSource};
use glassbox_kernels::CpuBackend;
use glassbox_model::config::ModelConfig;
use glassbox_model::locate::HubEnvironment;
use glassbox_model::model::Model;
use glassbox_model::tokenizer::Tokenizer;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::open(CpuBackend, &model_folder()).unwrap());
static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::open(&model_folder(), MODEL.config()).unwrap());

pub fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model")
}

pub fn model() -> &'static Model {
    &MODEL
}

pub fn model_config() -> &'static ModelConfig {
    MODEL.config()
}

pub fn tokenizer() -> &'static Tokenizer {
    &TOKENIZER
}

/// Documents in a file of JSON lines.
pub struct Corpus {
    folder: tempfile::TempDir,
    pub texts: Vec<String>,
}

impl Corpus {
    pub fn of_texts(texts: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = texts
            .iter()
            .map(|text| format!("{}\n", serde_json::json!({ "text": text })))
            .collect();
        std::fs::write(folder.path().join("corpus.jsonl"), lines).unwrap();
        Self { folder, texts }
    }

    /// Documents of these many words, no two alike.
    pub fn of_lengths(lengths: &[usize]) -> Self {
        const WORDS: [&str; 9] = ["you", "win", "the", "game", "and", "lose", "a", "coin", "bet"];
        let text = |(i, &length): (usize, &usize)| {
            let word = |j: usize| WORDS[(i * 7 + j * (1 + i % 5) + j * j / 3) % WORDS.len()];
            let words: Vec<&str> = (0..length).map(word).collect();
            format!("{} {i}", words.join(" "))
        };
        Self::of_texts(lengths.iter().enumerate().map(text).collect())
    }

    pub fn path(&self) -> String {
        self.folder.path().join("corpus.jsonl").display().to_string()
    }

    pub fn reader(&self) -> DocumentReader {
        let source = DocumentSource::of_paths([self.path()]);
        DocumentReader::open(source, &HubEnvironment::default()).unwrap()
    }
}

/// A copy of the shipped model in which one row of a matrix is this bfloat16 value throughout.
pub fn model_with_row(folder: &Path, tensor: &str, row: usize, bits: u16) -> Model {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(model_folder().join(file), folder.join(file)).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header_length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_length]).unwrap();
    let matrix = &header[tensor];
    assert_eq!(matrix["dtype"], "BF16", "{tensor}");
    let width = matrix["shape"][1].as_u64().unwrap() as usize;
    let start = 8 + header_length + matrix["data_offsets"][0].as_u64().unwrap() as usize;
    for column in 0..width {
        let at = start + 2 * (row * width + column);
        bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    Model::open(CpuBackend, folder).unwrap()
}
