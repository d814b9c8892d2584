//! A row of tokens, and the row that is being filled.

use serde::{Deserialize, Serialize};

use crate::{FirstPosition, Split};

/// The tokens of one row of a forward pass, with what is known of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number, from 0 in the order of the corpus.
    pub number: u64,
    /// Which part of the corpus it belongs to: no row mixes the two.
    pub split: Split,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Number of each token's document.
    pub documents: Vec<u64>,
    /// Each token's place among the tokens of its document. A BOS that was put in has the place of the token after it.
    pub document_positions: Vec<u32>,
    /// Whether each token is data, or only there for the others to see.
    pub keep: Vec<bool>,
}

impl TokenRow {
    /// Tokens that are data.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.keep.iter().filter(|&&keep| keep).count()
    }
}

/// A row that is not full yet: what a document left over for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenRow {
    tokens: Vec<u32>,
    /// Places in the row of BOS tokens that were put in.
    inserted: Vec<u32>,
    pieces: Vec<Piece>,
}

/// A stretch of one document in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    /// Where it begins in the row.
    start: u32,
    document: u64,
    /// Place in the document of its first token.
    first_position: u32,
}

impl OpenRow {
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Begins a stretch of a document, whose next token has this place in it.
    pub(crate) fn begin_piece(&mut self, document: u64, first_position: u32) {
        let start = self.tokens.len() as u32;
        self.pieces.push(Piece {
            start,
            document,
            first_position,
        });
    }

    /// Puts a BOS in.
    pub(crate) fn insert(&mut self, beginning: u32) {
        self.inserted.push(self.tokens.len() as u32);
        self.tokens.push(beginning);
    }

    /// Adds tokens of the stretch.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// The row as it is now, which leaves an empty one.
    pub(crate) fn close(&mut self, number: u64, split: Split, first: FirstPosition) -> TokenRow {
        let Self {
            tokens,
            inserted,
            pieces,
        } = std::mem::take(self);
        let mut row = TokenRow {
            number,
            split,
            documents: Vec::with_capacity(tokens.len()),
            document_positions: Vec::with_capacity(tokens.len()),
            keep: vec![true; tokens.len()],
            tokens,
        };
        let ends = pieces
            .iter()
            .skip(1)
            .map(|piece| piece.start)
            .chain([row.tokens.len() as u32]);
        for (piece, end) in pieces.iter().zip(ends) {
            let mut position = piece.first_position;
            for place in piece.start..end {
                row.documents.push(piece.document);
                row.document_positions.push(position);
                position += u32::from(inserted.binary_search(&place).is_err());
            }
        }
        if first == FirstPosition::Drop {
            for &place in inserted.iter().chain(&[0]) {
                if let Some(keep) = row.keep.get_mut(place as usize) {
                    *keep = false;
                }
            }
        }
        row
    }
}
