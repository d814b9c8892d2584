//! Text to token ids and back, by the model's `tokenizer.json`.
//!
//! The file is needed only where text is read or written; [`LazyTokenizer`] opens it there. The
//! beginning-of-sequence token is added on request and never by the file's own post-processing, so it can't be
//! there twice.

mod stream;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use thiserror::Error;

use crate::config::{Family, ModelConfig};
use crate::load_error::listing;

pub use stream::TextStream;

/// Why text can't become tokens, or tokens text.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file is not there.
    #[error(
        "{path}: there is no such file, but text can't be read or written without it; fetch it, or give token ids"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("{path}: can't read the file: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is no tokenizer.
    #[error("{path}: not a usable tokenizer: {what}; the file may be damaged, fetch it again")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        what: String,
    },
    /// The vocabulary is larger than the model's.
    #[error(
        "{path}: the tokenizer has tokens that the model lacks, as its vocabulary has {vocab_size} entries: {}; \
         the tokenizer belongs to another model",
        listing(tokens)
    )]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// Rows of the model's embedding.
        vocab_size: usize,
        /// The tokens with their ids.
        tokens: Vec<String>,
    },
    /// A beginning-of-sequence token was asked for, but the model has none.
    #[error(
        "{path}: a beginning-of-sequence token was asked for, but config.json names none (`bos_token_id`); \
         encode without it, or name one in a copy of config.json"
    )]
    NoBeginning {
        /// The tokenizer's file.
        path: PathBuf,
    },
    /// The text holds a token that the model lacks.
    #[error(
        "the text holds the token `{token}`, id {id}, which the model lacks, as its vocabulary has {vocab_size} \
         entries; leave it out of the text"
    )]
    OutsideVocabulary {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the model's embedding.
        vocab_size: usize,
    },
    /// The tokenizer failed on a text or on ids.
    #[error("{path}: {action} failed: {what}")]
    Failed {
        /// The tokenizer's file.
        path: PathBuf,
        /// "encoding the text" or "decoding the ids".
        action: &'static str,
        /// What the library says.
        what: String,
    },
}

/// Whether encoded text begins with the beginning-of-sequence token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It does, once: a text that begins with the token's own spelling gets no second one.
    Add,
    /// It does only if the text itself begins with the token's spelling.
    Omit,
    /// As the tokenizer's file would have it: Llama's and Mistral's add the token, GPT-2's and Qwen2's don't.
    AsTokenizer,
}

impl Beginning {
    /// What a model's prompts begin with: Llama's and Mistral's models are trained with the token in front of every text, for
    /// the others the tokenizer's file decides.
    #[must_use]
    pub fn of_prompts(config: &ModelConfig) -> Self {
        match (config.family, config.bos_token_id) {
            (Family::Llama | Family::Mistral, Some(_)) => Self::Add,
            _ => Self::AsTokenizer,
        }
    }
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    library: tokenizers::Tokenizer,
    path: PathBuf,
    hash: String,
    beginning: Option<u32>,
    adds_beginning: bool,
    vocab_size: usize,
    special: BTreeSet<u32>,
    /// A plain token with its text, before which another token is decoded as in the middle of a text.
    anchor: Option<(u32, String)>,
}

impl Tokenizer {
    /// Opens `tokenizer.json` in a model folder.
    ///
    /// # Errors
    /// [`TokenizerError`] if the file is missing, damaged, or belongs to a model with a larger vocabulary.
    pub fn open(folder: &Path, config: &ModelConfig) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(TokenizerError::Missing { path });
        }
        let json = std::fs::read(&path).map_err(|source| TokenizerError::Io {
            path: path.clone(),
            source,
        })?;
        Self::from_json(&path, &json, config)
    }

    /// Parses the content of a `tokenizer.json`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn from_json(path: &Path, json: &[u8], config: &ModelConfig) -> Result<Self, TokenizerError> {
        let invalid = |error: tokenizers::Error| TokenizerError::Invalid {
            path: path.to_path_buf(),
            what: error.to_string(),
        };
        let mut library = tokenizers::Tokenizer::from_bytes(json).map_err(invalid)?;
        // Files saved after training may cut or pad every text.
        library.with_truncation(None).map_err(invalid)?;
        library.with_padding(None);
        let special = library
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let mut tokenizer = Self {
            library,
            path: path.to_path_buf(),
            hash: blake3::hash(json).to_hex().to_string(),
            beginning: config.bos_token_id,
            adds_beginning: false,
            vocab_size: config.vocab_size,
            special,
            anchor: None,
        };
        tokenizer.check_vocabulary()?;
        tokenizer.anchor = tokenizer.find_anchor();
        tokenizer.adds_beginning = tokenizer.beginning.is_some_and(|beginning| {
            tokenizer
                .library
                .encode_fast("", true)
                .is_ok_and(|empty| empty.get_ids().first() == Some(&beginning))
        });
        Ok(tokenizer)
    }

    /// Every token must have a row of the embedding. Special tokens may lie beyond (a padding token that was added
    /// to the file, but not to the model); they are refused when a text holds them.
    fn check_vocabulary(&self) -> Result<(), TokenizerError> {
        let outside = |id: u32| id as usize >= self.vocab_size && !self.special.contains(&id);
        let mut tokens: Vec<(u32, String)> = self
            .library
            .get_vocab(true)
            .into_iter()
            .filter(|(_, id)| outside(*id))
            .map(|(t, id)| (id, t))
            .collect();
        if tokens.is_empty() {
            return Ok(());
        }
        tokens.sort();
        Err(TokenizerError::Vocabulary {
            path: self.path.clone(),
            vocab_size: self.vocab_size,
            tokens: tokens
                .into_iter()
                .map(|(id, token)| format!("`{token}` (id {id})"))
                .collect(),
        })
    }

    fn find_anchor(&self) -> Option<(u32, String)> {
        let plain = |id: u32| {
            let text = self.library.decode(&[id], false).ok()?;
            let usable =
                !self.special.contains(&id) && !text.is_empty() && text.chars().all(char::is_alphanumeric);
            usable.then_some((id, text))
        };
        let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9');
        letters
            .filter_map(|letter| self.library.token_to_id(&letter.to_string()))
            .find_map(plain)
            .or_else(|| (0..self.vocab_size as u32).find_map(plain))
    }

    /// The token ids of a text.
    ///
    /// # Errors
    /// [`TokenizerError::NoBeginning`] if the beginning token is asked for and the model has none,
    /// [`TokenizerError::OutsideVocabulary`] if the text holds a token without a row in the model.
    pub fn encode(&self, text: &str, beginning: Beginning) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .library
            .encode_fast(text, false)
            .map_err(|error| self.failed("encoding the text", &error))?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(TokenizerError::OutsideVocabulary {
                token: self.piece(id).unwrap_or_default(),
                id,
                vocab_size: self.vocab_size,
            });
        }
        let wanted = match beginning {
            Beginning::Add => true,
            Beginning::Omit => false,
            Beginning::AsTokenizer => self.adds_beginning,
        };
        if wanted {
            let token = self.beginning.ok_or_else(|| TokenizerError::NoBeginning {
                path: self.path.clone(),
            })?;
            if ids.first() != Some(&token) {
                ids.insert(0, token);
            }
        }
        Ok(ids)
    }

    /// The text of token ids. Special tokens have no text. Bytes that are not valid UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] if the library refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let mut stream = self.stream();
        let mut text = String::new();
        for &id in ids {
            text.push_str(&stream.push(id)?);
        }
        text.push_str(&stream.finish());
        Ok(text)
    }

    /// The text of tokens as it follows a prompt. Bytes of a character that never becomes complete are U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn continuation(&self, prompt: &[u32], tokens: &[u32]) -> Result<String, TokenizerError> {
        let mut stream = self.stream_after(prompt)?;
        let mut text = String::new();
        for &token in tokens {
            text.push_str(&stream.push(token)?);
        }
        text.push_str(&stream.finish());
        Ok(text)
    }

    /// A decoder for tokens that come one after the other, at the beginning of a text.
    #[must_use]
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// A decoder for tokens that follow a prompt: a leading space is kept where the prompt has text, and a character
    /// whose first bytes are the prompt's last is completed.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn stream_after(&self, prompt: &[u32]) -> Result<TextStream<'_>, TokenizerError> {
        let mut stream = self.stream();
        for &id in prompt {
            stream.push(id)?;
        }
        Ok(stream)
    }

    /// A token as a person reads it: its text with its leading space, special tokens by their spelling, single bytes
    /// of a longer character as `<0xE5>`, ids without a token as `<id 7>`.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn token_text(&self, id: u32) -> Result<String, TokenizerError> {
        let Some(piece) = self.piece(id) else {
            return Ok(format!("<id {id}>"));
        };
        if self.is_special(id) {
            return Ok(piece);
        }
        let bytes = self.token_bytes(id)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
            error
                .as_bytes()
                .iter()
                .map(|byte| format!("<0x{byte:02X}>"))
                .collect()
        }))
    }

    /// The token as the file spells it, `▁Once` or `Ġonce` for example; `None` if no token has this id.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.library.id_to_token(id)
    }

    /// The id of a token by the file's spelling.
    #[must_use]
    pub fn id_of_piece(&self, piece: &str) -> Option<u32> {
        self.library.token_to_id(piece)
    }

    /// Whether the token is special: it has no text of its own.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Whether [`Beginning::AsTokenizer`] adds the beginning-of-sequence token.
    #[must_use]
    pub fn adds_beginning(&self) -> bool {
        self.adds_beginning
    }

    /// BLAKE3 of the file, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What a token adds to a text, as bytes: a token may hold a part of a character. Empty for special tokens and for
    /// ids without a token (embeddings are often padded with unused rows).
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>, TokenizerError> {
        let Some((anchor, before)) = &self.anchor else {
            return self.bytes_in(&[id], "", id);
        };
        self.bytes_in(&[*anchor, id], before, id)
    }

    /// As [`Tokenizer::token_bytes`], for the first token of a text: some tokenizers drop its leading space.
    fn first_token_bytes(&self, id: u32) -> Result<Vec<u8>, TokenizerError> {
        self.bytes_in(&[id], "", id)
    }

    /// What the last of `ids`, `id`, adds to `before`, the text of the others.
    fn bytes_in(&self, ids: &[u32], before: &str, id: u32) -> Result<Vec<u8>, TokenizerError> {
        if self.is_special(id) {
            return Ok(Vec::new());
        }
        let Some(piece) = self.piece(id) else {
            return Ok(Vec::new());
        };
        let decoded = self
            .library
            .decode(ids, true)
            .map_err(|error| self.failed("decoding the ids", &error))?;
        let text = decoded.strip_prefix(before).unwrap_or(&decoded);
        // A part of a character shows as U+FFFD; its bytes are in the token's spelling.
        if text.contains(char::REPLACEMENT_CHARACTER)
            && let Some(bytes) = stream::bytes_of_piece(&piece)
        {
            return Ok(bytes);
        }
        Ok(text.as_bytes().to_vec())
    }

    fn failed(&self, action: &'static str, error: &tokenizers::Error) -> TokenizerError {
        TokenizerError::Failed {
            path: self.path.clone(),
            action,
            what: error.to_string(),
        }
    }
}

/// A tokenizer that is opened when it is first needed.
#[derive(Debug)]
pub struct LazyTokenizer {
    folder: PathBuf,
    config: ModelConfig,
    opened: OnceLock<Tokenizer>,
}

impl LazyTokenizer {
    /// The tokenizer of a model folder, not opened yet.
    #[must_use]
    pub fn new(folder: &Path, config: &ModelConfig) -> Self {
        Self {
            folder: folder.to_path_buf(),
            config: config.clone(),
            opened: OnceLock::new(),
        }
    }

    /// The tokenizer, opened on the first call.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn get(&self) -> Result<&Tokenizer, TokenizerError> {
        if let Some(tokenizer) = self.opened.get() {
            return Ok(tokenizer);
        }
        let tokenizer = Tokenizer::open(&self.folder, &self.config)?;
        Ok(self.opened.get_or_init(|| tokenizer))
    }
}
