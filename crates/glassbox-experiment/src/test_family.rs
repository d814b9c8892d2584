//! One family of tests: q values over the rows of a table.

use glassbox_stats::benjamini_hochberg;

use crate::error::ExperimentError;

/// Gives every row that `p` finds a p value for its Benjamini–Hochberg q value, over all of these; other rows stay as they
/// are.
///
/// # Errors
/// [`ExperimentError`] for a p value outside 0 to 1.
pub(crate) fn adjust_family<Row>(
    rows: &mut [Row],
    p: impl Fn(&Row) -> Option<f64>,
    set_q: impl Fn(&mut Row, f64),
) -> Result<(), ExperimentError> {
    let (tested, p_values): (Vec<usize>, Vec<f64>) = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| Some((index, p(row)?)))
        .unzip();
    for (index, q) in tested.into_iter().zip(benjamini_hochberg(&p_values)?) {
        set_q(&mut rows[index], q);
    }
    Ok(())
}
