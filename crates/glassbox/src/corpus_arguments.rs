//! Flags that name a corpus and say how it becomes rows of tokens.

use std::path::Path;

use clap::Args;
use glassbox_corpus::{
    BeginningPolicy, DocumentFormat, DocumentReader, DocumentSource, FirstPosition, Packing, RowOptions,
    Split, TextUnit, TokenRows,
};
use glassbox_model::locate::HubEnvironment;

use crate::error::CliError;
use crate::named_model::NamedModel;
use crate::output::tell;

/// The flags.
#[derive(Clone, Debug, Args)]
pub struct CorpusArguments {
    /// Text, JSON-lines or Parquet files, folders or patterns of them, or a data set of the local hub cache (org/name).
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub corpus: Vec<String>,
    /// How the files are read; by default as the endings of their names say.
    #[arg(long, value_enum, default_value_t = FormatArgument::Auto)]
    pub corpus_format: FormatArgument,
    /// Take every paragraph of a text file as a document, not the file.
    #[arg(long)]
    pub paragraphs: bool,
    /// Key (JSON lines) or column (Parquet) of the text.
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub text_column: String,
    /// Leave out documents with fewer characters.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_characters: usize,
    /// Documents at most.
    #[arg(long, value_name = "N")]
    pub max_documents: Option<u64>,
    /// Tokens per row, BOS included; by default as the dictionary was trained, else 128.
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// How documents fill rows; by default as the dictionary was trained, else packed.
    #[arg(long, value_enum)]
    pub packing: Option<PackingArgument>,
    /// Where BOS is put; by default as the dictionary was trained, else as the model's prompts have it.
    #[arg(long, value_enum)]
    pub bos: Option<BeginningArgument>,
    /// Whether position 0 of a row and BOS are data; by default as the dictionary was trained, else drop.
    #[arg(long, value_enum)]
    pub first_position: Option<FirstPositionArgument>,
    /// Share of the documents that is held out, chosen by a hash of their text; by default as the dictionary was trained, else 0.01.
    #[arg(long, value_name = "SHARE")]
    pub held_out: Option<f64>,
    /// Another number holds out other documents; by default as the dictionary was trained, else 0.
    #[arg(long, value_name = "N")]
    pub split_seed: Option<u64>,
    /// Tokens of a document at most; the rest is cut off and counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub longest_document: Option<u64>,
}

/// `--corpus-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum FormatArgument {
    /// As the endings of their names say.
    Auto,
    /// UTF-8 text.
    Text,
    /// One JSON object per line.
    Jsonl,
    /// Parquet.
    Parquet,
}

/// `--packing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum PackingArgument {
    /// One document after the other, rows filled to the end.
    Packed,
    /// One document per row, the rest cut off.
    DocumentPerRow,
}

/// `--bos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum BeginningArgument {
    /// As before every prompt of this program.
    AsModel,
    /// Before every document.
    EveryDocument,
    /// Before every document and at the start of every row.
    EveryRow,
    /// Nowhere.
    Never,
}

/// `--first-position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum FirstPositionArgument {
    /// They are data.
    Keep,
    /// They are computed, and no data.
    Drop,
}

impl CorpusArguments {
    /// The documents.
    pub fn source(&self) -> DocumentSource {
        DocumentSource {
            paths: self.corpus.clone(),
            format: match self.corpus_format {
                FormatArgument::Auto => DocumentFormat::Auto,
                FormatArgument::Text => DocumentFormat::Text,
                FormatArgument::Jsonl => DocumentFormat::Jsonl,
                FormatArgument::Parquet => DocumentFormat::Parquet,
            },
            text_unit: if self.paragraphs {
                TextUnit::Paragraph
            } else {
                TextUnit::File
            },
            text_column: self.text_column.clone(),
            min_characters: self.min_characters,
            max_documents: self.max_documents,
        }
    }

    /// Row options: what the flags say, else `recorded`.
    pub fn rows(&self, recorded: RowOptions) -> RowOptions {
        RowOptions {
            context: self.context.unwrap_or(recorded.context),
            packing: self.packing.map_or(recorded.packing, |packing| match packing {
                PackingArgument::Packed => Packing::Packed,
                PackingArgument::DocumentPerRow => Packing::DocumentPerRow,
            }),
            bos: self.bos.map_or(recorded.bos, |bos| match bos {
                BeginningArgument::AsModel => BeginningPolicy::AsModel,
                BeginningArgument::EveryDocument => BeginningPolicy::EveryDocument,
                BeginningArgument::EveryRow => BeginningPolicy::EveryRow,
                BeginningArgument::Never => BeginningPolicy::Never,
            }),
            first_position: self
                .first_position
                .map_or(recorded.first_position, |first| match first {
                    FirstPositionArgument::Keep => FirstPosition::Keep,
                    FirstPositionArgument::Drop => FirstPosition::Drop,
                }),
            held_out_share: self.held_out.unwrap_or(recorded.held_out_share),
            split_seed: self.split_seed.unwrap_or(recorded.split_seed),
            longest_document: match self.longest_document {
                Some(tokens) => Some(usize::try_from(tokens).unwrap_or(usize::MAX)),
                None => recorded.longest_document,
            },
        }
    }

    /// Opens the corpus for a model. Contexts longer than the model's are cut to it.
    ///
    /// # Errors
    /// [`CliError::Corpus`], [`CliError::Tokenizer`], [`CliError::Usage`] without a corpus.
    pub fn open<'a>(
        &self,
        model: &'a NamedModel,
        options: &RowOptions,
        only: Option<Split>,
    ) -> Result<TokenRows<'a>, CliError> {
        if self.corpus.is_empty() {
            return Err(CliError::usage_with_hint(
                "no corpus was given",
                "name text, JSON-lines or Parquet files with --corpus",
            ));
        }
        let reader = DocumentReader::open(self.source(), &HubEnvironment::of_process())?;
        let config = model.model.config();
        if let Some(asked) = self
            .context
            .filter(|asked| *asked > config.max_positions && only != Some(Split::HeldOut))
        {
            let most = config.max_positions;
            tell(&format!(
                "--context {asked} is more than the model's {most} positions; rows have {most} tokens"
            ));
        }
        let options = RowOptions {
            context: options.context.min(config.max_positions),
            ..options.clone()
        };
        Ok(TokenRows::new(
            reader,
            model.tokenizer()?,
            config,
            &options,
            only,
        )?)
    }

    /// The corpus in words.
    pub fn describe(&self) -> String {
        let name = |path: &String| {
            Path::new(path)
                .file_name()
                .map_or(path.clone(), |name| name.to_string_lossy().into_owned())
        };
        self.corpus.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}
