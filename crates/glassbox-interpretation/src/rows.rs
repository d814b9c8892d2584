//! Rows of tokens that go through the model together, and which of their tokens count.

use glassbox_corpus::TokenRow;
use glassbox_model::batch::TokenBatch;

use crate::error::Result;

/// Rows of one forward pass, laid out.
#[derive(Debug)]
pub struct PassRows<'a> {
    /// The rows.
    pub rows: &'a [TokenRow],
    /// The same as a batch, padded on the left.
    pub batch: TokenBatch,
    /// Row and position of every token that counts, in order.
    pub kept: Vec<(u32, u32)>,
    /// Row and position of every token that does not.
    pub dropped: Vec<(u32, u32)>,
}

impl<'a> PassRows<'a> {
    /// Lays out rows for a pass.
    ///
    /// # Errors
    /// [`crate::InterpretationError::Batch`] if there is no row or one without tokens.
    pub fn new(rows: &'a [TokenRow]) -> Result<Self> {
        let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let batch = TokenBatch::from_rows(&tokens)?;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for (number, row) in (0..).zip(rows) {
            for (position, keep) in (0..).zip(&row.keep) {
                if *keep { &mut kept } else { &mut dropped }.push((number, position));
            }
        }
        Ok(Self {
            rows,
            batch,
            kept,
            dropped,
        })
    }

    /// The places of tokens in a buffer [batch, pos, …], padding included.
    pub fn places(&self, tokens: &[(u32, u32)]) -> Vec<u32> {
        let width = self.batch.width() as u32;
        let lengths = self.batch.lengths();
        tokens
            .iter()
            .map(|(row, position)| row * width + (width - lengths[*row as usize]) + position)
            .collect()
    }

    /// The document of a token.
    pub fn document(&self, (row, position): (u32, u32)) -> u64 {
        self.rows[row as usize].documents[position as usize]
    }

    /// The token that follows within the same document, if there is one: what the model is to predict.
    pub fn next_token(&self, (row, position): (u32, u32)) -> Option<u32> {
        let row = &self.rows[row as usize];
        let (here, next) = (position as usize, position as usize + 1);
        (row.documents.get(next)? == row.documents.get(here)?).then(|| row.tokens[next])
    }

    /// Number of tokens, padding not counted.
    pub fn tokens(&self) -> usize {
        self.kept.len() + self.dropped.len()
    }
}
