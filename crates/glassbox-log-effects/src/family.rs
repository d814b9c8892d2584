//! One family of tests: q values over rows.

use glassbox_stats::{benjamini_hochberg, benjamini_yekutieli, storey_pi0, storey_q_values};
use serde::Serialize;

use crate::EffectsError;
use crate::effect_row::{LogDoseRow, LogEffectRow};

/// A family of tests that were adjusted together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Family {
    /// What was tested.
    pub name: String,
    /// Tests, those without information included.
    pub tests: usize,
    /// Tests without information: they count with p = 1.
    pub uninformative: usize,
    /// Storey's estimate of the share of true hypotheses, at λ = ½ among tests with information; those without count as true.
    pub pi0: f64,
    /// Smallest p value.
    pub smallest_p: f64,
    /// Smallest Benjamini–Hochberg q value.
    pub smallest_q: f64,
}

/// The figures of a row that its family gives.
pub(crate) trait Adjusted {
    fn p(&self) -> Option<f64>;
    fn set(&mut self, q: f64, any_dependence: f64, storey: f64);
}

macro_rules! adjusted {
    ($row:ty) => {
        impl Adjusted for $row {
            fn p(&self) -> Option<f64> {
                self.p
            }

            fn set(&mut self, q: f64, any_dependence: f64, storey: f64) {
                self.q = Some(q);
                self.q_any_dependence = Some(any_dependence);
                self.q_storey = Some(storey);
            }
        }
    };
}

adjusted!(LogEffectRow);
adjusted!(LogDoseRow);

/// Adjusts the rows of one family; `None` if there are none. A test that was tried and has no information enters as p = 1.
pub(crate) fn adjust<R: Adjusted>(name: String, rows: &mut [&mut R]) -> Result<Option<Family>, EffectsError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let failed = |cause| EffectsError::Stats {
        what: format!("the family of {name}"),
        cause,
    };
    let p_values: Vec<f64> = rows.iter().map(|row| row.p().unwrap_or(1.0)).collect();
    let informative: Vec<f64> = rows.iter().filter_map(|row| row.p()).collect();
    // Tests without information are true hypotheses as far as anyone can tell.
    let silent = (p_values.len() - informative.len()) as f64;
    let among_informative = storey_pi0(&informative, 0.5).map_err(failed)?;
    let pi0 = (among_informative * informative.len() as f64 + silent) / p_values.len() as f64;
    let q = benjamini_hochberg(&p_values).map_err(failed)?;
    let any = benjamini_yekutieli(&p_values).map_err(failed)?;
    let storey = storey_q_values(&p_values, pi0).map_err(failed)?;
    for (index, row) in rows.iter_mut().enumerate() {
        if row.p().is_some() {
            row.set(q[index], any[index], storey[index]);
        }
    }
    Ok(Some(Family {
        name,
        tests: p_values.len(),
        uninformative: p_values.len() - informative.len(),
        pi0,
        smallest_p: p_values.iter().copied().fold(1.0, f64::min),
        smallest_q: q.iter().copied().fold(1.0, f64::min),
    }))
}
