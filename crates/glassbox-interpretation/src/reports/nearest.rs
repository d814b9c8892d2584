//! The features whose decoder directions are nearest.

use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use glassbox_kernels::matmul::Layout;
use rayon::prelude::*;

use crate::error::Result;

/// Rows of the matrix of cosines computed at a time.
const ROWS_AT_A_TIME: usize = 128;

/// A feature near another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The feature.
    pub feature: u32,
    /// Cosine of the two decoder rows.
    pub cosine: f32,
}

/// For every feature the so many with the highest cosine of decoder rows, itself left out; of equals the lower feature. A
/// decoder row of zeros is near nothing.
///
/// # Errors
/// [`crate::InterpretationError::Kernel`] and [`crate::InterpretationError::Dictionary`].
pub fn nearest_features<B: Backend>(dictionary: &Dictionary<B>, most: usize) -> Result<Vec<Vec<Near>>> {
    let (backend, features, width) = (
        dictionary.backend(),
        dictionary.features(),
        dictionary.output_width(),
    );
    if most == 0 {
        return Ok(vec![Vec::new(); features]);
    }
    let ids: Vec<u32> = (0..features as u32).collect();
    let mut directions = vec![0.0; features * width];
    backend.read(&dictionary.decoder_rows(&ids)?, 0, &mut directions)?;
    directions.par_chunks_exact_mut(width).for_each(|row| {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
    });
    let all = backend.upload(&directions);
    let mut near = Vec::with_capacity(features);
    let mut cosines = vec![0.0; ROWS_AT_A_TIME * features];
    for (block, rows) in directions.chunks(ROWS_AT_A_TIME * width).enumerate() {
        let n = rows.len() / width;
        let mut product = backend.zeros(n * features);
        let rows = backend.upload(rows);
        backend.matmul(
            &mut product,
            n,
            features,
            &rows,
            Layout::Normal,
            &all,
            Layout::Transposed,
            width,
            0.0,
            1.0,
        )?;
        backend.read(&product, 0, &mut cosines[..n * features])?;
        let found: Vec<Vec<Near>> = cosines[..n * features]
            .par_chunks_exact(features)
            .enumerate()
            .map(|(i, row)| best(row, block * ROWS_AT_A_TIME + i, most))
            .collect();
        near.extend(found);
    }
    Ok(near)
}

/// The best of a row of cosines, the feature itself left out.
fn best(row: &[f32], own: usize, most: usize) -> Vec<Near> {
    let mut best: Vec<Near> = Vec::with_capacity(most + 1);
    for (feature, cosine) in row.iter().enumerate() {
        let full = best.len() == most;
        if feature == own || *cosine <= 0.0 || full && best[most - 1].cosine >= *cosine {
            continue;
        }
        let place = best.partition_point(|other| other.cosine >= *cosine);
        best.insert(
            place,
            Near {
                feature: feature as u32,
                cosine: *cosine,
            },
        );
        best.truncate(most);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_in_order_and_do_not_hold_the_feature_itself() {
        let row = [0.5, 1.0, 0.9, 0.5, -0.3, 0.9];
        let found: Vec<u32> = best(&row, 1, 3).iter().map(|near| near.feature).collect();
        assert_eq!(found, [2, 5, 0]);
    }
}
