//! Documents of any length laid end to end, without padding.

use std::ops::Range;

use crate::corpus::TokenDocument;

/// Inputs and targets of some documents. Position 0 of every document is its BOS.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Input tokens of all documents, [n].
    pub inputs: Vec<u32>,
    /// The token that follows each input, [n].
    pub targets: Vec<u32>,
    /// Where each document lies in the above.
    pub documents: Vec<Range<usize>>,
}

impl Batch {
    /// Lays out whole documents; the last token of each is only a target.
    pub fn of_documents<'a>(documents: impl IntoIterator<Item = &'a TokenDocument>) -> Self {
        Self::of_tokens(documents.into_iter().map(|document| document.tokens.as_slice()))
    }

    /// Lays out token sequences of at least two tokens; the last token of each is only a target.
    pub fn of_tokens<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for tokens in sequences {
            let start = batch.inputs.len();
            if let Some((_, inputs)) = tokens.split_last() {
                batch.inputs.extend_from_slice(inputs);
                batch.targets.extend_from_slice(&tokens[1..]);
            }
            batch.documents.push(start..batch.inputs.len());
        }
        batch
    }

    /// Number of input tokens.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }
}
