//! Documents: a prompt, the response that one player gives, and their tokens.

use anyhow::Result;
use rayon::prelude::*;

use crate::prompt::Prompt;
use crate::response::Response;
use crate::rng::{Draws, Split};
use crate::tokenizer::{BEGIN, END, GameTokenizer};

/// One game situation with one answer.
#[derive(Clone, Debug)]
pub struct Document {
    /// What the player sees.
    pub prompt: Prompt,
    /// What the player answers.
    pub response: Response,
}

impl Document {
    /// The document of one index of one split.
    pub fn draw(seed: u64, split: Split, index: u64) -> Self {
        let mut draws = Draws::new(seed, split, index);
        let prompt = Prompt::draw(&mut draws);
        let response = Response::draw(&mut draws, &prompt);
        Self { prompt, response }
    }

    /// Prompt and response, as one text.
    pub fn text(&self) -> String {
        self.prompt.text() + &self.response.text
    }
}

/// A document as token ids: BOS, prompt, response, EOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDocument {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Position of the first response token; the last prompt token is the one before.
    pub response_start: usize,
}

/// The first `count` documents of a split, as tokens, in order.
///
/// # Errors
/// If the tokenizer fails.
pub fn tokenize(
    seed: u64,
    split: Split,
    count: usize,
    tokenizer: &GameTokenizer,
) -> Result<Vec<TokenDocument>> {
    (0..count as u64)
        .into_par_iter()
        .map(|index| {
            let document = Document::draw(seed, split, index);
            let mut tokens = vec![BEGIN];
            tokens.extend(tokenizer.encode(&document.prompt.text())?);
            let response_start = tokens.len();
            tokens.extend(tokenizer.encode(&document.response.text)?);
            tokens.push(END);
            Ok(TokenDocument {
                tokens,
                response_start,
            })
        })
        .collect()
}
