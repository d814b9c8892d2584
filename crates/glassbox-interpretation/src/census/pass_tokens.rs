//! The tokens of a pass as the census sees them.

use crate::census::context::Context;
use crate::census::settings::CensusSettings;
use crate::rows::PassRows;

/// Where the kept tokens of a pass lie, and which piece of a document each is of.
#[derive(Debug)]
pub(super) struct PassTokens<'a> {
    pass: &'a PassRows<'a>,
    /// Number, among all tokens of the corpus, of each row's first token.
    row_starts: Vec<u64>,
    /// Piece of each kept token.
    piece_of: Vec<u32>,
    /// Row, first position and one more than the last of each piece.
    pieces: Vec<(u32, u32, u32)>,
}

impl<'a> PassTokens<'a> {
    /// Of a pass whose first token has this number among all tokens of the corpus.
    pub(super) fn new(pass: &'a PassRows<'a>, first_number: u64) -> Self {
        let mut row_starts = Vec::with_capacity(pass.rows.len());
        let mut pieces = Vec::new();
        let mut number = first_number;
        let mut first_pieces = Vec::with_capacity(pass.rows.len());
        for (row, tokens) in (0..).zip(pass.rows) {
            row_starts.push(number);
            number += tokens.tokens.len() as u64;
            first_pieces.push(pieces.len());
            let mut begin = 0;
            for end in 1..=tokens.documents.len() {
                if end == tokens.documents.len() || tokens.documents[end] != tokens.documents[begin] {
                    pieces.push((row, begin as u32, end as u32));
                    begin = end;
                }
            }
        }
        let mut piece_of = Vec::with_capacity(pass.kept.len());
        let mut piece = 0;
        for (row, position) in &pass.kept {
            piece = piece.max(first_pieces[*row as usize]);
            while pieces[piece].2 <= *position {
                piece += 1;
            }
            piece_of.push(piece as u32);
        }
        Self {
            pass,
            row_starts,
            piece_of,
            pieces,
        }
    }

    pub(super) fn piece(&self, kept: u32) -> u32 {
        self.piece_of[kept as usize]
    }

    pub(super) fn token(&self, kept: u32) -> u32 {
        let (row, position) = self.pass.kept[kept as usize];
        self.pass.rows[row as usize].tokens[position as usize]
    }

    /// Number of a kept token among all tokens of the corpus.
    pub(super) fn token_number(&self, kept: u32) -> u64 {
        let (row, position) = self.pass.kept[kept as usize];
        self.row_starts[row as usize] + u64::from(position)
    }

    /// The context of the active token `at` of a feature's entries (index among the kept tokens, activation).
    pub(super) fn context(&self, entries: &[(u32, f32)], at: usize, settings: &CensusSettings) -> Context {
        let (kept, activation) = entries[at];
        let (row, position) = self.pass.kept[kept as usize];
        let (_, begin, end) = self.pieces[self.piece(kept) as usize];
        let first = position.saturating_sub(settings.context_before as u32).max(begin);
        let last = position
            .saturating_add(settings.context_after as u32)
            .min(end - 1);
        let tokens = self.pass.rows[row as usize].tokens[first as usize..=last as usize].to_vec();
        let mut activations = vec![0.0; tokens.len()];
        let inside = |entry: &&(u32, f32)| {
            let (other, position) = self.pass.kept[entry.0 as usize];
            other == row && (first..=last).contains(&position)
        };
        let before = entries[..at].iter().rev().take_while(inside);
        for (kept, value) in before.chain(entries[at..].iter().take_while(inside)) {
            activations[(self.pass.kept[*kept as usize].1 - first) as usize] = *value;
        }
        Context {
            document: self.pass.rows[row as usize].documents[position as usize],
            token_number: self.token_number(kept),
            peak: position - first,
            activation,
            tokens,
            activations,
        }
    }

    /// The kept tokens that a context around a kept token shows.
    pub(super) fn kept_within(&self, kept: u32, context: &Context) -> std::ops::Range<u32> {
        let (row, position) = self.pass.kept[kept as usize];
        let first = position - context.peak;
        let last = first + context.tokens.len() as u32 - 1;
        let begin = self.pass.kept.partition_point(|place| *place < (row, first));
        let end = self.pass.kept.partition_point(|place| *place <= (row, last));
        begin as u32..end as u32
    }
}
