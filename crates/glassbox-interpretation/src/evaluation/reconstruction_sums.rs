//! How near reconstructions come to what they reconstruct: float64 sums over tokens, in one pass.

use rayon::prelude::*;

/// Rows whose sums one task takes. Fixed, so that the order of additions does not depend on the threads.
const ROWS_PER_TASK: usize = 64;

/// Below this length, SAELens takes the length of an input for one when it divides by it.
const SHORTEST: f64 = 1e-4;

/// Sums over tokens of targets x and reconstructions x̂, both [n, width].
#[derive(Clone, Debug)]
pub struct ReconstructionSums {
    width: usize,
    tokens: u64,
    /// Mean of x so far [width].
    mean: Vec<f64>,
    /// Σ (x − mean)² [width].
    deviation: Vec<f64>,
    /// Σ (x − x̂)² [width].
    error: Vec<f64>,
    squared_norm: f64,
    squared_norm_out: f64,
    product: f64,
    norm: f64,
    norm_out: f64,
    cosine: f64,
    norm_ratio: f64,
    /// Tokens whose x and x̂ have a direction.
    directed: u64,
    /// Σ over tokens of 1 − ‖x − x̂‖² / ‖x − mean of the pass‖².
    legacy: f64,
    legacy_tokens: u64,
}

/// The figures that the sums give. `None` where a denominator is zero.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ReconstructionFigures {
    /// Tokens.
    pub tokens: u64,
    /// 1 − Σ‖x − x̂‖² / Σ‖x − mean‖², the mean over all tokens: variance-weighted.
    pub explained_variance: Option<f64>,
    /// 1 − explained variance: the fraction of variance unexplained.
    pub fraction_of_variance_unexplained: Option<f64>,
    /// Mean over dimensions of 1 − Σ(x_j − x̂_j)² / Σ(x_j − mean_j)², dimensions that do not vary left out.
    pub explained_variance_mean_of_dimensions: Option<f64>,
    /// Mean over tokens of 1 − ‖x − x̂‖² / ‖x − mean‖², the mean over the tokens of one forward pass: what SAELens calls
    /// `explained_variance_legacy`. Tokens near the mean weigh without bound, and the figure depends on the size of a pass.
    pub explained_variance_saelens_legacy: Option<f64>,
    /// Mean over tokens of ‖x − x̂‖² (sum over dimensions).
    pub mean_squared_error: f64,
    /// Mean over tokens of ‖x − mean‖².
    pub mean_squared_norm_centred: f64,
    /// Mean over tokens of ‖x‖.
    pub mean_norm: f64,
    /// Mean over tokens of ‖x̂‖.
    pub mean_norm_out: f64,
    /// Mean over tokens of the cosine of x and x̂.
    pub cosine: Option<f64>,
    /// Mean over tokens of ‖x̂‖ / ‖x‖: below one, reconstructions are too short.
    pub norm_ratio: f64,
    /// Σ‖x̂‖² / Σ x̂·x: below one, the reconstruction shrinks (Rajamanoharan et al. 2024, equation 10).
    pub relative_reconstruction_bias: Option<f64>,
}

/// Sums of some rows, before they are put together.
struct Part {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    error: Vec<f64>,
    scalars: [f64; 7],
    directed: u64,
    rows: u64,
}

impl ReconstructionSums {
    /// No tokens yet, of this width.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            tokens: 0,
            mean: vec![0.0; width],
            deviation: vec![0.0; width],
            error: vec![0.0; width],
            squared_norm: 0.0,
            squared_norm_out: 0.0,
            product: 0.0,
            norm: 0.0,
            norm_out: 0.0,
            cosine: 0.0,
            norm_ratio: 0.0,
            directed: 0,
            legacy: 0.0,
            legacy_tokens: 0,
        }
    }

    /// Adds the tokens of one forward pass: targets and reconstructions, both [n, width].
    pub fn push(&mut self, targets: &[f32], reconstructions: &[f32]) {
        let width = self.width;
        let parts: Vec<Part> = targets
            .par_chunks(ROWS_PER_TASK * width)
            .zip(reconstructions.par_chunks(ROWS_PER_TASK * width))
            .map(|(x, out)| Part::of(x, out, width))
            .collect();
        for part in &parts {
            self.merge(part);
        }
        self.push_legacy(targets, reconstructions, &parts);
    }

    fn merge(&mut self, part: &Part) {
        let (a, b) = (self.tokens as f64, part.rows as f64);
        let total = a + b;
        for j in 0..self.width {
            let difference = part.mean[j] - self.mean[j];
            self.mean[j] += difference * b / total;
            self.deviation[j] += part.deviation[j] + difference * difference * a * b / total;
            self.error[j] += part.error[j];
        }
        let [
            squared_norm,
            squared_norm_out,
            product,
            norm,
            norm_out,
            cosine,
            norm_ratio,
        ] = part.scalars;
        self.squared_norm += squared_norm;
        self.squared_norm_out += squared_norm_out;
        self.product += product;
        self.norm += norm;
        self.norm_out += norm_out;
        self.cosine += cosine;
        self.norm_ratio += norm_ratio;
        self.directed += part.directed;
        self.tokens += part.rows;
    }

    fn push_legacy(&mut self, targets: &[f32], reconstructions: &[f32], parts: &[Part]) {
        let rows = (targets.len() / self.width.max(1)) as f64;
        let mut mean = vec![0.0; self.width];
        for part in parts {
            for (mean, value) in mean.iter_mut().zip(&part.mean) {
                *mean += value * part.rows as f64 / rows;
            }
        }
        let ratios: Vec<Option<f64>> = targets
            .par_chunks(self.width)
            .zip(reconstructions.par_chunks(self.width))
            .map(|(x, out)| {
                let (mut error, mut deviation) = (0.0, 0.0);
                for ((x, out), mean) in x.iter().zip(out).zip(&mean) {
                    error += (f64::from(*x) - f64::from(*out)).powi(2);
                    deviation += (f64::from(*x) - mean).powi(2);
                }
                (deviation > 0.0).then(|| 1.0 - error / deviation)
            })
            .collect();
        for ratio in ratios.into_iter().flatten() {
            self.legacy += ratio;
            self.legacy_tokens += 1;
        }
    }

    /// Mean of the targets so far [width].
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The figures; `None` without tokens.
    pub fn figures(&self) -> Option<ReconstructionFigures> {
        if self.tokens == 0 {
            return None;
        }
        let n = self.tokens as f64;
        let (error, deviation): (f64, f64) = (self.error.iter().sum(), self.deviation.iter().sum());
        let explained = ratio(error, deviation).map(|unexplained| 1.0 - unexplained);
        let of_dimensions: Vec<f64> = self
            .error
            .iter()
            .zip(&self.deviation)
            .filter_map(|(error, deviation)| ratio(*error, *deviation))
            .map(|unexplained| 1.0 - unexplained)
            .collect();
        Some(ReconstructionFigures {
            tokens: self.tokens,
            explained_variance: explained,
            fraction_of_variance_unexplained: explained.map(|explained| 1.0 - explained),
            explained_variance_mean_of_dimensions: ratio(
                of_dimensions.iter().sum(),
                of_dimensions.len() as f64,
            ),
            explained_variance_saelens_legacy: ratio(self.legacy, self.legacy_tokens as f64),
            mean_squared_error: error / n,
            mean_squared_norm_centred: deviation / n,
            mean_norm: self.norm / n,
            mean_norm_out: self.norm_out / n,
            cosine: ratio(self.cosine, self.directed as f64),
            norm_ratio: self.norm_ratio / n,
            relative_reconstruction_bias: ratio(self.squared_norm_out, self.product),
        })
    }
}

impl Part {
    fn of(targets: &[f32], reconstructions: &[f32], width: usize) -> Self {
        let mut part = Self {
            mean: vec![0.0; width],
            deviation: vec![0.0; width],
            error: vec![0.0; width],
            scalars: [0.0; 7],
            directed: 0,
            rows: 0,
        };
        for (x, out) in targets
            .chunks_exact(width)
            .zip(reconstructions.chunks_exact(width))
        {
            part.rows += 1;
            let count = part.rows as f64;
            let (mut squared, mut squared_out, mut product) = (0.0, 0.0, 0.0);
            for j in 0..width {
                let (x, out) = (f64::from(x[j]), f64::from(out[j]));
                let deviation = x - part.mean[j];
                part.mean[j] += deviation / count;
                part.deviation[j] += deviation * (x - part.mean[j]);
                part.error[j] += (x - out) * (x - out);
                squared += x * x;
                squared_out += out * out;
                product += x * out;
            }
            let (norm, norm_out) = (squared.sqrt(), squared_out.sqrt());
            let cosine = if norm > 0.0 && norm_out > 0.0 {
                part.directed += 1;
                product / (norm * norm_out)
            } else {
                0.0
            };
            let divisor = if norm < SHORTEST { 1.0 } else { norm };
            let scalars = [
                squared,
                squared_out,
                product,
                norm,
                norm_out,
                cosine,
                norm_out / divisor,
            ];
            for (sum, value) in part.scalars.iter_mut().zip(scalars) {
                *sum += value;
            }
        }
        part
    }
}

/// The quotient, where there is one.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator != 0.0).then(|| numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_reconstruction_explains_everything() {
        let x: Vec<f32> = (0..300).map(|i| (i * 37 % 101) as f32 + 1000.0).collect();
        let mut sums = ReconstructionSums::new(3);
        sums.push(&x, &x);
        let figures = sums.figures().unwrap();
        assert_eq!(figures.explained_variance, Some(1.0));
        assert_eq!(figures.mean_squared_error, 0.0);
        assert!((figures.cosine.unwrap() - 1.0).abs() < 1e-12);
        assert!((figures.relative_reconstruction_bias.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_mean_explains_nothing_however_far_from_zero() {
        let x: Vec<f32> = (0..200).map(|i| 5000.0 + (i % 7) as f32).collect();
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / 200.0;
        let mut sums = ReconstructionSums::new(1);
        sums.push(&x, &vec![mean as f32; 200]);
        assert!(sums.figures().unwrap().explained_variance.unwrap().abs() < 1e-6);
    }

    #[test]
    fn passes_put_together_equal_one_pass() {
        let x: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1009) as f32 * 0.1).collect();
        let out: Vec<f32> = x.iter().map(|x| x * 0.9 + 0.3).collect();
        let mut whole = ReconstructionSums::new(5);
        whole.push(&x, &out);
        let mut parts = ReconstructionSums::new(5);
        for (x, out) in x.chunks(135).zip(out.chunks(135)) {
            parts.push(x, out);
        }
        let (whole, parts) = (whole.figures().unwrap(), parts.figures().unwrap());
        let close = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-12;
        assert!(close(whole.explained_variance, parts.explained_variance));
        assert!(close(whole.cosine, parts.cosine));
    }

    #[test]
    fn constant_input_has_no_explained_variance() {
        let mut sums = ReconstructionSums::new(2);
        assert_eq!(sums.figures(), None);
        sums.push(&[1.0; 8], &[1.0; 8]);
        assert_eq!(sums.figures().unwrap().explained_variance, None);
    }
}
