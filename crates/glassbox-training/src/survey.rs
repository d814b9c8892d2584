//! The first rows of a source: for scale and mean, and to measure on.

use glassbox_corpus::{ActivationBatch, ActivationSource, Split};

use crate::error::Result;

/// Up to `most` rows of a split from where the source stands, one [n, width] per site, and their number. The source is then
/// put back to where it stood.
pub(crate) fn first_rows(
    source: &mut dyn ActivationSource,
    split: Split,
    most: usize,
) -> Result<(Vec<Vec<f32>>, usize)> {
    let state = source.state();
    let sites = source.sites().to_vec();
    let mut rows = vec![Vec::new(); sites.len()];
    let mut count = 0;
    let mut batch = ActivationBatch::new();
    while count < most && source.next(&mut batch)? {
        let ours = (0..batch.len()).filter(|&row| batch.splits[row] == split);
        for row in ours.take(most - count) {
            count += 1;
            for ((to, values), site) in rows.iter_mut().zip(&batch.sites).zip(&sites) {
                to.extend_from_slice(&values[row * site.width..(row + 1) * site.width]);
            }
        }
    }
    source.restore(&state)?;
    Ok((rows, count))
}
