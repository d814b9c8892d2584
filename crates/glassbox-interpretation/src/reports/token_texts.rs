//! Tokens as people read them.

use glassbox_model::tokenizer::Tokenizer;

use crate::error::Result;

/// The text of every token of a vocabulary.
#[derive(Clone, Debug, Default)]
pub struct TokenTexts {
    texts: Vec<String>,
}

impl TokenTexts {
    /// The texts of a tokenizer's first `vocab` ids.
    ///
    /// # Errors
    /// [`crate::InterpretationError::Tokenizer`].
    pub fn new(tokenizer: &Tokenizer, vocab: usize) -> Result<Self> {
        let texts = (0..vocab as u32)
            .map(|id| tokenizer.token_text(id))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self { texts })
    }

    /// Given texts, by token id.
    pub fn from_texts(texts: Vec<String>) -> Self {
        Self { texts }
    }

    /// The text of a token.
    pub fn text(&self, token: u32) -> &str {
        self.texts.get(token as usize).map_or("", String::as_str)
    }

    /// The texts of some tokens.
    pub fn texts(&self, tokens: &[u32]) -> Vec<&str> {
        tokens.iter().map(|token| self.text(*token)).collect()
    }
}
