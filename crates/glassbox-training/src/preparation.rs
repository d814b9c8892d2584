//! What is measured of the activations before training: their scale, and where the biases begin.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainingError};

/// What the decoder's bias begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BiasStart {
    /// The mean of the activations.
    #[default]
    Mean,
    /// The point with the least sum of distances, by Weiszfeld's iteration.
    GeometricMedian,
    /// Zero.
    Zero,
}

/// Scale and starting points of one dictionary, in raw units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Factor that brings the input to unit scale: 1 / √(E‖x − mean‖²).
    pub input_scale: f64,
    /// The same for what is to be reconstructed.
    pub output_scale: f64,
    /// Mean of the input [width].
    pub input_mean: Vec<f32>,
    /// First decoder bias [output width].
    pub decoder_bias: Vec<f32>,
}

impl Preparation {
    /// Of activations that are in unit scale as they are, with biases of zero: what a timing needs.
    pub fn none(width: usize, output_width: usize) -> Self {
        Self {
            input_scale: 1.0,
            output_scale: 1.0,
            input_mean: vec![0.0; width],
            decoder_bias: vec![0.0; output_width],
        }
    }

    /// Measures rows of the input [n, width] and, for a transcoder, of the output.
    ///
    /// # Errors
    /// [`TrainingError::NoVariance`].
    pub fn measure(
        (site, input, width): (&str, &[f32], usize),
        output: Option<(&str, &[f32], usize)>,
        start: BiasStart,
    ) -> Result<Self> {
        let (input_mean, input_deviation) = mean_and_deviation(input, width);
        let (output_site, rows, output_width) = output.unwrap_or((site, input, width));
        let (output_mean, output_deviation) = mean_and_deviation(rows, output_width);
        for (site, deviation, mean, width) in [
            (site, input_deviation, &input_mean, width),
            (output_site, output_deviation, &output_mean, output_width),
        ] {
            let square: f64 = mean.iter().map(|mean| mean * mean).sum();
            // Below this the differences are rounding errors of the mean.
            if !(deviation > 1e-12 * square && deviation > f64::from(f32::MIN_POSITIVE)) {
                return Err(TrainingError::NoVariance {
                    site: site.to_owned(),
                    tokens: (input.len() / width) as u64,
                });
            }
        }
        let decoder_bias = match start {
            BiasStart::Mean => output_mean,
            BiasStart::GeometricMedian => geometric_median(rows, output_width, output_mean),
            BiasStart::Zero => vec![0.0; output_width],
        };
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Ok(Self {
            input_scale: 1.0 / input_deviation.sqrt(),
            output_scale: 1.0 / output_deviation.sqrt(),
            input_mean: narrow(input_mean),
            decoder_bias: narrow(decoder_bias),
        })
    }
}

/// Mean of rows [n, width], and the mean of their squared distances from it.
pub(crate) fn mean_and_deviation(rows: &[f32], width: usize) -> (Vec<f64>, f64) {
    let count = (rows.len() / width).max(1) as f64;
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (mean, &value) in mean.iter_mut().zip(row) {
            *mean += f64::from(value);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    let deviation = rows
        .chunks_exact(width)
        .map(|row| distance_square(row, &mean))
        .sum::<f64>()
        / count;
    (mean, deviation)
}

fn distance_square(row: &[f32], point: &[f64]) -> f64 {
    row.iter()
        .zip(point)
        .map(|(&value, point)| (f64::from(value) - point).powi(2))
        .sum()
}

/// Weiszfeld's iteration from `start`, until it moves by less than a millionth of its length, or fifty times.
fn geometric_median(rows: &[f32], width: usize, start: Vec<f64>) -> Vec<f64> {
    let mut median = start;
    for _ in 0..50 {
        let mut next = vec![0.0; width];
        let mut total = 0.0;
        for row in rows.chunks_exact(width) {
            let weight = 1.0 / distance_square(row, &median).sqrt().max(1e-12);
            total += weight;
            for (next, &value) in next.iter_mut().zip(row) {
                *next += weight * f64::from(value);
            }
        }
        next.iter_mut().for_each(|value| *value /= total);
        let (mut moved, mut length) = (0.0, 0.0);
        for (next, old) in next.iter().zip(&median) {
            moved += (next - old).powi(2);
            length += next * next;
        }
        median = next;
        if moved <= 1e-12 * length {
            break;
        }
    }
    median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_an_outlier_and_the_mean_is() {
        let mut rows: Vec<f32> = (0..20).flat_map(|i| [(i % 5) as f32, (i % 4) as f32]).collect();
        let measure = |rows: &[f32], start| {
            Preparation::measure(("a", rows, 2), None, start)
                .unwrap()
                .decoder_bias[0]
        };
        let (mean, median) = (
            measure(&rows, BiasStart::Mean),
            measure(&rows, BiasStart::GeometricMedian),
        );
        rows.extend([1e4, 1e4]);
        assert!(measure(&rows, BiasStart::Mean) > mean + 100.0);
        assert!((measure(&rows, BiasStart::GeometricMedian) - median).abs() < 0.5);
    }

    #[test]
    fn scaled_rows_have_unit_deviation_and_constant_rows_are_refused() {
        let rows: Vec<f32> = (0..60).map(|i| 3.0 + ((i * 37) % 11) as f32).collect();
        let preparation = Preparation::measure(("a", &rows, 3), None, BiasStart::Mean).unwrap();
        let scaled: Vec<f32> = rows.iter().map(|x| x * preparation.input_scale as f32).collect();
        assert!((mean_and_deviation(&scaled, 3).1 - 1.0).abs() < 1e-5);
        let constant = Preparation::measure(("a", &[5.0; 30], 3), None, BiasStart::Mean);
        assert!(matches!(
            constant,
            Err(TrainingError::NoVariance { tokens: 10, .. })
        ));
    }
}
