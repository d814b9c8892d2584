//! Encoding many tokens a piece at a time, with the active features as (index, value) pairs.

use glassbox_dictionary::{Dictionary, SparseFeatures};
use glassbox_kernels::Backend;
use rayon::prelude::*;

use crate::error::{InterpretationError, Result};

/// Rows that one task turns into pairs. Fixed, so that the result does not depend on the threads.
const ROWS_PER_TASK: usize = 16;

/// What a dictionary makes of some tokens.
#[derive(Debug, Default)]
pub struct Encoding {
    /// The active features of each token.
    pub features: SparseFeatures,
    /// The reconstruction [n, output width]; empty where it was not asked for.
    pub reconstruction: Vec<f32>,
}

/// Encodes rows x [n, width], and decodes them where asked for.
///
/// # Errors
/// [`InterpretationError::NonFinite`] if a feature value or a reconstruction is not finite; [`InterpretationError::Kernel`].
pub fn encode_tokens<B: Backend>(
    dictionary: &Dictionary<B>,
    x: &B::Buffer,
    n: usize,
    reconstruct: bool,
) -> Result<Encoding> {
    let backend = dictionary.backend();
    let (width, features) = (dictionary.width(), dictionary.features());
    let mut encoding = Encoding {
        features: SparseFeatures {
            row_offsets: vec![0],
            ..SparseFeatures::default()
        },
        reconstruction: Vec::new(),
    };
    let piece = dictionary.rows_at_a_time();
    let mut dense = Vec::new();
    for first in (0..n).step_by(piece) {
        let rows = piece.min(n - first);
        let mut part = backend.zeros(rows * width);
        let numbers: Vec<u32> = (first as u32..(first + rows) as u32).collect();
        backend.gather_rows(x, width, &numbers, &mut part)?;
        let encoded = dictionary.encode(&part, rows)?;
        if reconstruct {
            let decoded = dictionary.decode(&encoded.features, rows, &encoded.statistics)?;
            let begin = encoding.reconstruction.len();
            let width = backend.len(&decoded) / rows;
            encoding.reconstruction.resize(begin + rows * width, 0.0);
            let out = &mut encoding.reconstruction[begin..];
            backend.read(&decoded, 0, out)?;
            refuse_non_finite(dictionary, "reconstruction", out, width, first)?;
        }
        dense.resize(rows * features, 0.0);
        backend.read(&encoded.features, 0, &mut dense[..rows * features])?;
        let parts: Vec<SparseFeatures> = dense[..rows * features]
            .par_chunks(features * ROWS_PER_TASK)
            .map(|rows| sparse_rows(rows, features))
            .collect();
        for part in parts {
            let begin = encoding.features.features.len();
            refuse_non_finite(dictionary, "activation", &part.values, 1, first)?;
            encoding.features.features.extend(part.features);
            encoding.features.values.extend(part.values);
            encoding
                .features
                .row_offsets
                .extend(part.row_offsets[1..].iter().map(|offset| begin + offset));
        }
    }
    Ok(encoding)
}

/// The pairs of dense rows. Values of zero are inactive; values that are not finite are kept, so that they are seen.
fn sparse_rows(dense: &[f32], features: usize) -> SparseFeatures {
    let mut sparse = SparseFeatures {
        row_offsets: vec![0],
        ..SparseFeatures::default()
    };
    for row in dense.chunks_exact(features) {
        // Most of a row is zero: whole blocks are passed over at the cost of a comparison that vectorises.
        for (block, values) in row.chunks(32).enumerate() {
            if values.iter().all(|value| *value == 0.0) {
                continue;
            }
            for (i, value) in values.iter().enumerate() {
                if *value != 0.0 {
                    sparse.features.push((block * 32 + i) as u32);
                    sparse.values.push(*value);
                }
            }
        }
        sparse.row_offsets.push(sparse.features.len());
    }
    sparse
}

fn refuse_non_finite<B: Backend>(
    dictionary: &Dictionary<B>,
    what: &'static str,
    values: &[f32],
    width: usize,
    first: usize,
) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(InterpretationError::NonFinite {
            what,
            site: dictionary.description().site,
            token: first + at / width,
            value: values[at],
        }),
    }
}
