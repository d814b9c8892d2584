//! Which documents a corpus has.

use serde::{Deserialize, Serialize};

/// How files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFormat {
    /// By the ending of each file's name.
    #[default]
    Auto,
    /// UTF-8 text.
    Text,
    /// JSON lines: one object per line, the text under a key.
    Jsonl,
    /// Parquet, the text in a column of strings: the layout of Hugging Face data sets.
    Parquet,
}

/// What a document is in a file of plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// The file.
    #[default]
    File,
    /// A paragraph: what stands between blank lines.
    Paragraph,
}

/// The documents of a corpus, in a fixed order: the paths as given, the files of a folder or pattern by name, each file from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DocumentSource {
    /// Files, folders (with the folders in them), patterns with `*`, `**`, `?`, `[…]` and `{…}`, and data sets of the local Hugging Face
    /// cache: their hub id (`org/name` or `org/name@revision`) or their folder there. A file that is named twice is read once.
    pub paths: Vec<String>,
    /// How files are read.
    pub format: DocumentFormat,
    /// Key (JSON lines) or column (Parquet) of the text.
    pub text_column: String,
    /// What a document is in a file of plain text.
    pub text_unit: TextUnit,
    /// Documents with fewer characters are left out and counted.
    pub min_characters: usize,
    /// Documents at most; those left out don't count.
    pub max_documents: Option<u64>,
}

impl Default for DocumentSource {
    /// No paths; the text under `text`; every document that is not empty.
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: DocumentFormat::default(),
            text_column: "text".to_owned(),
            text_unit: TextUnit::default(),
            min_characters: 1,
            max_documents: None,
        }
    }
}

impl DocumentSource {
    /// All documents of these paths.
    pub fn of_paths<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}
