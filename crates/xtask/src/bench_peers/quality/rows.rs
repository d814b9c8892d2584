//! The activations that every program trains on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use glassbox_corpus::{
    ActivationBatch, ActivationSource as _, DocumentReader, DocumentSource, ModelActivations, Packing,
    RowOptions, Split, TokenRows,
};
use glassbox_model::locate::HubEnvironment;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::Tokenizer;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::bench_peers::inputs;
use crate::bench_peers::quality::subject::{Subject, Text};
use crate::rng::Split as GameSplit;
use crate::texts::{draw_games, sample_from_model};

/// Training tokens.
const TOKENS: usize = 2_000_000;
/// Held-out tokens.
const HELD_OUT: usize = 100_000;
/// Share of the documents that is held out: enough for [`HELD_OUT`].
const HELD_OUT_SHARE: f64 = 0.06;
const BATCH_TOKENS: usize = 2048;

/// Rows of one site, f32.
pub struct Rows {
    /// The site.
    pub site: Site,
    /// Values per row.
    pub width: usize,
    /// [tokens, width], in the order of the corpus.
    pub train: Vec<f32>,
    /// [held-out tokens, width].
    pub held_out: Vec<f32>,
    /// The training rows for the peers.
    pub file: PathBuf,
    /// BLAKE3 of the training rows.
    pub hash: String,
    /// Where dictionaries go.
    pub folder: PathBuf,
}

impl Rows {
    /// Computes the rows of a layer; the text is made where it is missing.
    ///
    /// # Errors
    /// If the model or the text can't be used.
    pub fn of(subject: &Subject, layer: u32, folder: &Path, quick: bool) -> Result<Self> {
        let tokens = if quick { TOKENS / 20 } else { TOKENS };
        let name = subject.name.replace(' ', "_");
        let corpus = folder.join(format!("{name}.jsonl"));
        if !corpus.is_file() {
            eprintln!("making the text of {}", subject.name);
            match subject.text {
                Text::Sampled => {
                    sample_from_model(&subject.model, (TOKENS + 2 * HELD_OUT) as u64 * 11 / 10, &corpus)?
                }
                Text::Games => draw_games(1, GameSplit::Train, 24_000, &corpus)?,
            }
        }
        let site = Site::ResidPost(layer);
        let model = inputs::model(&subject.model)?;
        let tokenizer = Tokenizer::open(&subject.model, model.config())?;
        let collect = |split, wanted: usize| -> Result<Vec<f32>> {
            let source = DocumentSource::of_paths([corpus.to_string_lossy().into_owned()]);
            let reader = DocumentReader::open(source, &HubEnvironment::of_process())?;
            let options = RowOptions {
                context: subject.context,
                packing: Packing::DocumentPerRow,
                held_out_share: HELD_OUT_SHARE,
                ..RowOptions::default()
            };
            let rows = TokenRows::new(reader, &tokenizer, model.config(), &options, Some(split))?;
            let mut source = ModelActivations::new(&model, None, rows, &[site], BATCH_TOKENS)?;
            let width = model.config().d_model;
            let (mut values, mut batch) = (Vec::with_capacity(wanted * width), ActivationBatch::new());
            while values.len() < wanted * width && source.next(&mut batch)? {
                values.extend_from_slice(&batch.sites[0]);
            }
            ensure!(
                values.len() >= wanted * width,
                "the text of {} has {} {} tokens, {wanted} are needed",
                subject.name,
                values.len() / width,
                split.name()
            );
            values.truncate(wanted * width);
            Ok(values)
        };
        let mut rows = Self {
            site,
            hash: String::new(),
            width: model.config().d_model,
            train: collect(Split::Train, tokens)?,
            held_out: collect(Split::HeldOut, HELD_OUT)?,
            file: folder.join(format!("{name}_L{layer}.safetensors")),
            folder: folder.join(format!("{name}_L{layer}")),
        };
        rows.write()?;
        Ok(rows)
    }

    fn write(&mut self) -> Result<()> {
        let bytes: Vec<u8> = self.train.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.hash = blake3::hash(&bytes).to_string();
        let shape = vec![self.train.len() / self.width, self.width];
        let view = TensorView::new(Dtype::F32, shape, &bytes)?;
        safetensors::serialize_to_file([("rows", view)], None, &self.file)
            .with_context(|| format!("write {}", self.file.display()))
    }
}
