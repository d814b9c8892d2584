//! Putting prompts into a cache, in pieces that bound the memory.

use std::ops::Range;

use crate::batch::TokenBatch;

/// Rows (batch rows times positions) that one pass over prompts computes at most, unless a single position of every row
/// is more. The buffers of a pass are proportional to it, whatever the length of the prompts.
const ROWS_PER_PASS: usize = 2048;

/// The columns of each pass over a batch of prompts.
pub(super) fn pieces(batch: &TokenBatch) -> impl Iterator<Item = Range<usize>> + use<> {
    let (rows, width) = (batch.rows(), batch.width());
    let piece = (ROWS_PER_PASS / rows.max(1)).max(1);
    (0..width)
        .step_by(piece)
        .map(move |begin| begin..(begin + piece).min(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_column_once() {
        for (rows, width) in [(1, 5000), (128, 200), (3000, 3), (7, 1)] {
            let batch = TokenBatch::from_rows(&vec![vec![1; width]; rows]).unwrap();
            let columns: Vec<usize> = pieces(&batch).flatten().collect();
            assert_eq!(columns, (0..width).collect::<Vec<_>>());
            assert!(pieces(&batch).all(|piece| piece.len() == 1 || piece.len() * rows <= ROWS_PER_PASS));
        }
    }
}
