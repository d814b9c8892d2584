//! The tokens of a model as words.

use std::path::Path;

use glassbox_log_effects::words::{Tokens, WordPattern};
use tokenizers::Tokenizer;

use crate::error::CliError;

/// A `tokenizer.json`.
pub struct ModelTokens(Tokenizer);

impl ModelTokens {
    /// Opens a `tokenizer.json`, or the one in a model's folder.
    ///
    /// # Errors
    /// [`CliError::Usage`] naming the file.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let file = if path.is_dir() {
            path.join("tokenizer.json")
        } else {
            path.to_path_buf()
        };
        Tokenizer::from_file(&file).map(Self).map_err(|cause| {
            CliError::usage_with_hint(
                format!("{} is no tokenizer: {cause}", file.display()),
                "give a tokenizer.json, or the folder of a model that holds one",
            )
        })
    }

    /// Its tokens as the pattern of words.
    pub fn into_pattern(self) -> WordPattern {
        WordPattern::Tokens(Box::new(self))
    }
}

impl Tokens for ModelTokens {
    /// Every token as the part of the text that it covers; a text that the tokenizer refuses has no words.
    fn each_token(&self, text: &str, each: &mut dyn FnMut(&str)) {
        let Ok(encoding) = self.0.encode(text, false) else {
            return;
        };
        for &(start, end) in encoding.get_offsets() {
            if let Some(piece) = text.get(start..end) {
                each(piece);
            }
        }
    }
}
