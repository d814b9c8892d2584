//! How well a dictionary encodes some rows, in a few figures that are gathered row by row.

use serde::Serialize;

/// Sums over rows of activations and their reconstructions.
#[derive(Debug)]
pub struct EncodingFigures {
    rows: u64,
    active: u64,
    squared_error: f64,
    largest_error: f64,
    /// Mean of each column so far, [width].
    mean: Vec<f64>,
    /// Sum of squared deviations from the mean over all columns so far (Welford's recurrence).
    squared_deviation: f64,
}

/// The figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Mean number of active features per row; `None` without rows.
    pub mean_l0: Option<f64>,
    /// 1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖² over all rows; `None` where the rows don't vary, or x̂ is of another site.
    pub explained_variance: Option<f64>,
    /// Largest |x − x̂| over all values; `None` without rows, or where x̂ is of another site.
    pub largest_error: Option<f64>,
}

impl EncodingFigures {
    /// No rows yet, of this width.
    pub fn new(width: usize) -> Self {
        let mean = vec![0.0; width];
        Self {
            rows: 0,
            active: 0,
            squared_error: 0.0,
            largest_error: 0.0,
            mean,
            squared_deviation: 0.0,
        }
    }

    /// Adds a row x [width] with its feature values [features] and its reconstruction [width].
    pub fn push(&mut self, x: &[f32], features: &[f32], reconstruction: &[f32]) {
        self.rows += 1;
        self.active += features.iter().filter(|value| **value != 0.0).count() as u64;
        let count = self.rows as f64;
        for ((x, reconstructed), mean) in x.iter().zip(reconstruction).zip(&mut self.mean) {
            let x = f64::from(*x);
            let error = (x - f64::from(*reconstructed)).abs();
            self.squared_error += error * error;
            self.largest_error = self.largest_error.max(error);
            let deviation = x - *mean;
            *mean += deviation / count;
            self.squared_deviation += deviation * (x - *mean);
        }
    }

    /// The figures of all rows. With `same_site` false the dictionary is a transcoder, and x̂ is not to be compared with x.
    pub fn figures(&self, same_site: bool) -> Figures {
        let any = self.rows > 0;
        let varies = self.squared_deviation > 0.0;
        Figures {
            mean_l0: any.then(|| self.active as f64 / self.rows as f64),
            explained_variance: (same_site && varies)
                .then(|| 1.0 - self.squared_error / self.squared_deviation),
            largest_error: (same_site && any).then_some(self.largest_error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_their_definitions() {
        let mut gathered = EncodingFigures::new(2);
        // Column means 2 and 10; squared deviations 1 + 1 and 4 + 4.
        gathered.push(&[1.0, 8.0], &[0.0, 2.0, 0.5], &[1.5, 8.0]);
        gathered.push(&[3.0, 12.0], &[0.0, 0.0, 1.0], &[3.0, 11.0]);
        let figures = gathered.figures(true);
        assert_eq!(figures.mean_l0, Some(1.5));
        assert!((figures.explained_variance.unwrap() - (1.0 - 1.25 / 10.0)).abs() < 1e-12);
        assert_eq!(figures.largest_error, Some(1.0));
        assert_eq!(gathered.figures(false).explained_variance, None);
    }

    #[test]
    fn undefined_figures_are_missing() {
        let figures = EncodingFigures::new(3).figures(true);
        assert_eq!(
            figures,
            Figures {
                mean_l0: None,
                explained_variance: None,
                largest_error: None
            }
        );
        let mut constant = EncodingFigures::new(1);
        constant.push(&[1.0], &[0.0], &[1.0]);
        assert_eq!(constant.figures(true).explained_variance, None);
    }
}
