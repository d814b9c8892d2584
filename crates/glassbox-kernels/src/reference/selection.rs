//! Choosing among the elements of a row.

use std::cmp::Ordering;

use crate::backend::{TopEntries, VocabularyStatistics};

/// Larger values first, NaN before all; equal values by rising index.
fn order(row: &[f32], a: usize, b: usize) -> Ordering {
    let by_value = match (row[a].is_nan(), row[b].is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => row[b].partial_cmp(&row[a]).unwrap_or(Ordering::Equal),
    };
    by_value.then(a.cmp(&b))
}

/// The k largest of a row.
pub(super) fn top_entries(row: &[f32], k: usize) -> TopEntries {
    let mut all: Vec<usize> = (0..row.len()).collect();
    all.sort_by(|&a, &b| order(row, a, b));
    all.truncate(k);
    TopEntries {
        values: all.iter().map(|&i| row[i]).collect(),
        indices: all.into_iter().map(|i| i as u32).collect(),
    }
}

/// Statistics of a row of logits.
pub(super) fn vocabulary_statistics(row: &[f32]) -> VocabularyStatistics {
    let largest = top_entries(row, 1);
    let (argmax, max) = (largest.indices[0], largest.values[0]);
    if !max.is_finite() {
        return VocabularyStatistics {
            log_sum_exp: max,
            entropy: f32::NAN,
            argmax,
            max,
        };
    }
    let total: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).sum();
    // −Σ p log p, where p log p is zero for p = 0.
    let entropy: f64 = row
        .iter()
        .map(|&x| (f64::from(x) - f64::from(max)).exp() / total)
        .map(|p| if p == 0.0 { 0.0 } else { -p * p.ln() })
        .sum();
    VocabularyStatistics {
        log_sum_exp: (f64::from(max) + total.ln()) as f32,
        entropy: entropy as f32,
        argmax,
        max,
    }
}
