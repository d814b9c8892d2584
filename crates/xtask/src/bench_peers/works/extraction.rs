//! What it costs to write the activations of all layers to disk.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use glassbox_corpus::{
    DocumentReader, DocumentSource, ExtractRequest, ExtractSettings, RowOptions, TokenRows, extract,
    forward_only,
};
use glassbox_kernels::CpuBackend;
use glassbox_model::locate::HubEnvironment;
use glassbox_model::model::Model;
use glassbox_model::model_hash::model_hash;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::Tokenizer;
use glassbox_store::Storage;

use crate::bench_peers::bench::Setting;
use crate::bench_peers::inputs;
use crate::bench_peers::work::Contest;
use crate::bench_peers::works::seconds;

const ROWS: usize = 128;
const WIDTH: usize = 256;

/// The same passes with and without files.
pub struct Extraction {
    model: Model<CpuBackend>,
    tokenizer: Tokenizer,
    model_hash: String,
    documents: PathBuf,
    out: PathBuf,
    tokens: u64,
}

impl Extraction {
    /// Loads the model and writes a corpus of random words.
    ///
    /// # Errors
    /// If the folder holds no model, or a file can't be written.
    pub fn new(setting: &Setting) -> Result<Self> {
        let folder = setting.data.join(inputs::MODEL);
        let model = inputs::model(&folder)?;
        let tokenizer = Tokenizer::open(&folder, model.config())?;
        let documents = setting.data.join("extraction_corpus.jsonl");
        let mut text = String::new();
        for row in inputs::rows(11, ROWS, WIDTH - 1) {
            let words: String = row.iter().map(|id| format!("w{id} ")).collect();
            text.push_str(&format!("{{\"text\": \"{words}\"}}\n"));
        }
        fs::write(&documents, text).with_context(|| format!("write {}", documents.display()))?;
        Ok(Self {
            model_hash: model_hash(&folder)?,
            tokenizer,
            model,
            documents,
            out: setting.data.join("extraction"),
            tokens: 0,
        })
    }

    fn rows(&self) -> Result<TokenRows<'_>> {
        let source = DocumentSource::of_paths([self.documents.to_string_lossy().into_owned()]);
        let reader = DocumentReader::open(source, &HubEnvironment::of_process())?;
        let options = RowOptions {
            context: WIDTH,
            ..RowOptions::default()
        };
        Ok(TokenRows::new(
            reader,
            &self.tokenizer,
            self.model.config(),
            &options,
            None,
        )?)
    }

    fn settings() -> ExtractSettings {
        ExtractSettings::of_sites((0..inputs::BLOCKS).map(Site::ResidPost).collect())
    }

    fn extract(&self) -> Result<u64> {
        let request = ExtractRequest {
            model: &self.model,
            model_hash: self.model_hash.clone(),
            rows: self.rows()?,
            settings: Self::settings(),
            out: self.out.clone(),
            resume: false,
            disk_limit: None,
        };
        let manifest = extract(request, &Storage::new(), &())?;
        ensure!(manifest.complete, "the extraction is not complete");
        Ok(manifest.tokens(None))
    }

    fn forward(&self) -> Result<u64> {
        Ok(forward_only(&self.model, self.rows()?, &Self::settings(), &())?)
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.out) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(cause).with_context(|| format!("remove {}", self.out.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Contest for Extraction {
    fn check(&mut self) -> Result<String> {
        self.clear()?;
        self.tokens = self.extract()?;
        let forward = self.forward()?;
        ensure!(
            self.tokens == forward,
            "{} tokens were stored, {forward} passed",
            self.tokens
        );
        Ok(format!(
            "{} tokens of {} layers stored, whole and under checksum",
            self.tokens,
            inputs::BLOCKS
        ))
    }

    fn glassbox(&mut self) -> Result<f64> {
        self.clear()?;
        seconds(|| self.extract().map(|_| ()))
    }

    fn peer(&mut self) -> Result<f64> {
        seconds(|| self.forward().map(|_| ()))
    }

    fn units(&self) -> (f64, f64) {
        (self.tokens as f64, self.tokens as f64)
    }

    fn note(&mut self) -> Result<String> {
        self.clear()?;
        Ok(format!(
            "hook_resid_post of all {} blocks in f16, read from the forward pass, written, synced and checksummed; the same \
             batches of {} tokens on both sides, no logits",
            inputs::BLOCKS,
            Self::settings().batch_tokens
        ))
    }

    fn versions(&self) -> String {
        "no peer".to_owned()
    }
}
