//! Training's operations by their definitions.

use super::memory::{ReferenceBuffer, wide};
use super::selection::top_entries;
use crate::ReferenceBackend;
use crate::backend::Result;
use crate::operands::{self, product, sizes};
use crate::training::{AdamStep, CodeTotals, SparseRows, Trained, TrainingBackend};

/// One pair of a row and a feature.
#[derive(Clone, Copy, Debug)]
struct Pair {
    row: usize,
    feature: usize,
    pre: f64,
    value: f64,
    gradient: f64,
}

/// Pairs by rising row, then feature.
#[derive(Clone, Debug, Default)]
pub struct ReferenceCodes {
    rows: usize,
    features: usize,
    pairs: Vec<Pair>,
}

impl ReferenceCodes {
    fn set_values(&mut self, of: impl Fn(usize, f64) -> f64) {
        for pair in &mut self.pairs {
            pair.value = of(pair.feature, pair.pre);
        }
    }
}

/// Whether z is above a bound, or either is NaN.
fn above(z: f32, bound: f32) -> bool {
    z > bound || z.is_nan() || bound.is_nan()
}

/// max(z, 0), NaN for NaN.
fn relu(z: f64) -> f64 {
    if z <= 0.0 { 0.0 } else { z }
}

/// z of every row.
fn pre_activations(
    x: &ReferenceBuffer,
    (n, width, features): (usize, usize, usize),
    encoder: &ReferenceBuffer,
    bias: &ReferenceBuffer,
) -> Vec<Vec<f32>> {
    let (x, encoder) = (x.wide(n * width), encoder.wide(features * width));
    (0..n)
        .map(|row| {
            (0..features)
                .map(|feature| {
                    let product: f64 = (0..width)
                        .map(|j| x[row * width + j] * encoder[feature * width + j])
                        .sum();
                    (product + f64::from(bias.values[feature])) as f32
                })
                .collect()
        })
        .collect()
}

fn codes(features: usize, chosen: Vec<Vec<(usize, f32)>>) -> ReferenceCodes {
    let pairs = chosen.iter().enumerate().flat_map(|(row, pairs)| {
        pairs.iter().map(move |&(feature, z)| Pair {
            row,
            feature,
            pre: f64::from(z),
            value: relu(f64::from(z)),
            gradient: 0.0,
        })
    });
    ReferenceCodes {
        rows: chosen.len(),
        features,
        pairs: pairs.collect(),
    }
}

fn buffer_lengths(
    x: &ReferenceBuffer,
    encoder: &ReferenceBuffer,
    bias: &ReferenceBuffer,
) -> (usize, usize, usize) {
    (x.values.len(), encoder.values.len(), bias.values.len())
}

impl TrainingBackend for ReferenceBackend {
    type Codes = ReferenceCodes;

    fn encode_top_k(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
        encoder: &ReferenceBuffer,
        bias: &ReferenceBuffer,
        features: usize,
        k: usize,
        to: &mut ReferenceCodes,
    ) -> Result<()> {
        let op = "encode_top_k";
        operands::encoder(op, (n, width, features), buffer_lengths(x, encoder, bias))?;
        operands::not_zero(op, "k", k)?;
        let rows = pre_activations(x, (n, width, features), encoder, bias);
        let chosen = rows.iter().map(|row| {
            let top = top_entries(row, k);
            let mut pairs: Vec<(usize, f32)> = (top.indices.iter().map(|&i| i as usize))
                .zip(top.values)
                .filter(|(_, z)| above(*z, 0.0))
                .collect();
            pairs.sort_by_key(|(feature, _)| *feature);
            pairs
        });
        *to = codes(features, chosen.collect());
        Ok(())
    }

    fn encode_above(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
        encoder: &ReferenceBuffer,
        bias: &ReferenceBuffer,
        features: usize,
        bound: &ReferenceBuffer,
        to: &mut ReferenceCodes,
    ) -> Result<()> {
        let op = "encode_above";
        operands::encoder(op, (n, width, features), buffer_lengths(x, encoder, bias))?;
        sizes(op, &[("bound", bound.values.len(), features)])?;
        let rows = pre_activations(x, (n, width, features), encoder, bias);
        let chosen = rows.iter().map(|row| {
            let pairs = row.iter().copied().enumerate();
            pairs
                .filter(|&(feature, z)| above(z, bound.values[feature]))
                .collect()
        });
        *to = codes(features, chosen.collect());
        Ok(())
    }

    fn keep_largest(&self, codes: &mut ReferenceCodes, count: usize) -> Result<Option<f32>> {
        let values: Vec<f32> = codes.pairs.iter().map(|pair| pair.pre as f32).collect();
        let mut kept = top_entries(&values, count).indices;
        kept.sort_unstable();
        codes.pairs = kept.iter().map(|&place| codes.pairs[place as usize]).collect();
        Ok(codes.pairs.iter().map(|pair| pair.pre as f32).reduce(f32::min))
    }

    fn copy_codes(&self, from: &ReferenceCodes, to: &mut ReferenceCodes) -> Result<()> {
        to.clone_from(from);
        Ok(())
    }

    fn count_codes(&self, codes: &ReferenceCodes, counts: &mut [u32]) -> Result<CodeTotals> {
        sizes("count_codes", &[("counts", counts.len(), codes.features)])?;
        let mut totals = CodeTotals::default();
        for pair in codes.pairs.iter().filter(|pair| pair.value != 0.0) {
            counts[pair.feature] += 1;
            totals.active += 1;
            totals.sum += pair.value;
        }
        Ok(totals)
    }

    fn code_pairs(&self, codes: &ReferenceCodes) -> usize {
        codes.pairs.len()
    }

    fn read_codes(&self, codes: &ReferenceCodes) -> Result<SparseRows> {
        let active: Vec<&Pair> = codes.pairs.iter().filter(|pair| pair.value != 0.0).collect();
        Ok(SparseRows {
            row_offsets: (0..=codes.rows)
                .map(|row| active.iter().filter(|pair| pair.row < row).count())
                .collect(),
            features: active.iter().map(|pair| pair.feature as u32).collect(),
            values: active.iter().map(|pair| pair.value as f32).collect(),
        })
    }

    fn jump_relu(&self, codes: &mut ReferenceCodes, threshold: &ReferenceBuffer) -> Result<()> {
        sizes(
            "jump_relu",
            &[("threshold", threshold.values.len(), codes.features)],
        )?;
        let threshold = threshold.wide(codes.features);
        codes.set_values(|feature, z| if z <= threshold[feature] { 0.0 } else { z });
        Ok(())
    }

    fn magnitude(
        &self,
        codes: &mut ReferenceCodes,
        gate_bias: &ReferenceBuffer,
        log_scale: &ReferenceBuffer,
        bias: &ReferenceBuffer,
    ) -> Result<()> {
        let features = codes.features;
        sizes(
            "magnitude",
            &[
                ("gate_bias", gate_bias.values.len(), features),
                ("log_scale", log_scale.values.len(), features),
                ("bias", bias.values.len(), features),
            ],
        )?;
        let [gate_bias, log_scale, bias] = [gate_bias, log_scale, bias].map(|values| values.wide(features));
        codes.set_values(|feature, z| {
            relu(log_scale[feature].exp() * (z - gate_bias[feature]) + bias[feature])
        });
        Ok(())
    }

    fn decode_codes(
        &self,
        codes: &ReferenceCodes,
        decoder: &ReferenceBuffer,
        width: usize,
        bias: Option<&ReferenceBuffer>,
        ends: &[u32],
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        let op = "decode_codes";
        operands::prefixes(op, ends, codes.features)?;
        operands::not_zero(op, "width", width)?;
        sizes(
            op,
            &[
                ("decoder", decoder.values.len(), product(&[codes.features, width])),
                ("bias", bias.map_or(width, |bias| bias.values.len()), width),
                ("y", y.values.len(), product(&[ends.len(), codes.rows, width])),
            ],
        )?;
        let decoder = decoder.wide(codes.features * width);
        let mut sums = vec![0.0; ends.len() * codes.rows * width];
        for (p, &end) in ends.iter().enumerate() {
            let sums = &mut sums[p * codes.rows * width..(p + 1) * codes.rows * width];
            if let Some(bias) = bias {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = f64::from(bias.values[i % width]);
                }
            }
            for pair in codes.pairs.iter().filter(|pair| pair.feature < end as usize) {
                for j in 0..width {
                    sums[pair.row * width + j] += pair.value * decoder[pair.feature * width + j];
                }
            }
        }
        y.store(&sums);
        Ok(())
    }

    fn residual(
        &self,
        target: &ReferenceBuffer,
        count: usize,
        scales: &[f32],
        y: &mut ReferenceBuffer,
    ) -> Result<Vec<f64>> {
        sizes(
            "residual",
            &[
                ("target", target.values.len(), count),
                ("y", y.values.len(), product(&[scales.len(), count])),
            ],
        )?;
        let target = target.wide(count);
        let mut error: Vec<Vec<f64>> = wide(&y.values[..scales.len() * count])
            .chunks(count.max(1))
            .map(|y| y.iter().zip(&target).map(|(y, target)| y - target).collect())
            .collect();
        error.resize(scales.len(), Vec::new());
        let squares = error
            .iter()
            .map(|error| error.iter().map(|e| e * e).sum())
            .collect();
        for p in (0..scales.len()).rev() {
            for i in 0..error[p].len() {
                let later = error.get(p + 1).map_or(0.0, |later| later[i]);
                error[p][i] = f64::from(scales[p]) * error[p][i] + later;
            }
        }
        y.store(&error.concat());
        Ok(squares)
    }

    fn decoder_backward(
        &self,
        codes: &mut ReferenceCodes,
        error: &ReferenceBuffer,
        decoder: &ReferenceBuffer,
        width: usize,
        ends: &[u32],
        accumulate: bool,
        d_decoder: Option<&mut ReferenceBuffer>,
    ) -> Result<()> {
        let op = "decoder_backward";
        operands::prefixes(op, ends, codes.features)?;
        operands::not_zero(op, "width", width)?;
        let matrix = product(&[codes.features, width]);
        sizes(
            op,
            &[
                (
                    "error",
                    error.values.len(),
                    product(&[ends.len(), codes.rows, width]),
                ),
                ("decoder", decoder.values.len(), matrix),
                (
                    "d_decoder",
                    d_decoder.as_ref().map_or(matrix, |d| d.values.len()),
                    matrix,
                ),
            ],
        )?;
        let (error, decoder) = (
            error.wide(ends.len() * codes.rows * width),
            decoder.wide(codes.features * width),
        );
        let mut sums = vec![0.0; codes.features * width];
        for pair in &mut codes.pairs {
            let prefix = ends.iter().filter(|&&end| end as usize <= pair.feature).count();
            let row = (prefix * codes.rows + pair.row) * width;
            pair.gradient = (0..width)
                .map(|j| decoder[pair.feature * width + j] * error[row + j])
                .sum();
            for j in 0..width {
                sums[pair.feature * width + j] += pair.value * error[row + j];
            }
        }
        match d_decoder {
            Some(d_decoder) if accumulate => d_decoder.accumulate(&sums),
            Some(d_decoder) => d_decoder.store(&sums),
            None => {}
        }
        Ok(())
    }

    fn relu_backward(&self, codes: &mut ReferenceCodes, l1: f32) -> Result<()> {
        for pair in &mut codes.pairs {
            pair.gradient = if pair.value <= 0.0 {
                0.0
            } else {
                pair.gradient + f64::from(l1)
            };
        }
        Ok(())
    }

    fn jump_relu_backward(
        &self,
        codes: &mut ReferenceCodes,
        threshold: &ReferenceBuffer,
        bandwidth: f32,
        l0: f32,
        d_threshold: &mut ReferenceBuffer,
    ) -> Result<()> {
        let op = "jump_relu_backward";
        operands::positive(op, "bandwidth", bandwidth)?;
        sizes(
            op,
            &[
                ("threshold", threshold.values.len(), codes.features),
                ("d_threshold", d_threshold.values.len(), codes.features),
            ],
        )?;
        let mut sums = vec![0.0; codes.features];
        for pair in &mut codes.pairs {
            let threshold = f64::from(threshold.values[pair.feature]);
            if (pair.pre - threshold).abs() < 0.5 * f64::from(bandwidth) {
                sums[pair.feature] -= (threshold * pair.gradient + f64::from(l0)) / f64::from(bandwidth);
            }
            if pair.pre <= threshold {
                pair.gradient = 0.0;
            }
        }
        d_threshold.store(&sums);
        Ok(())
    }

    fn magnitude_backward(
        &self,
        codes: &mut ReferenceCodes,
        gate_bias: &ReferenceBuffer,
        log_scale: &ReferenceBuffer,
        d_log_scale: &mut ReferenceBuffer,
        d_bias: &mut ReferenceBuffer,
    ) -> Result<()> {
        let features = codes.features;
        sizes(
            "magnitude_backward",
            &[
                ("gate_bias", gate_bias.values.len(), features),
                ("log_scale", log_scale.values.len(), features),
                ("d_log_scale", d_log_scale.values.len(), features),
                ("d_bias", d_bias.values.len(), features),
            ],
        )?;
        let (mut scales, mut biases) = (vec![0.0; features], vec![0.0; features]);
        for pair in &mut codes.pairs {
            if pair.value <= 0.0 {
                pair.gradient = 0.0;
                continue;
            }
            biases[pair.feature] += pair.gradient;
            pair.gradient *= f64::from(log_scale.values[pair.feature]).exp();
            scales[pair.feature] += pair.gradient * (pair.pre - f64::from(gate_bias.values[pair.feature]));
        }
        d_log_scale.store(&scales);
        d_bias.store(&biases);
        Ok(())
    }

    fn encoder_backward(
        &self,
        codes: &ReferenceCodes,
        x: &ReferenceBuffer,
        width: usize,
        accumulate: bool,
        d_encoder: &mut ReferenceBuffer,
        d_bias: &mut ReferenceBuffer,
    ) -> Result<()> {
        let op = "encoder_backward";
        operands::not_zero(op, "width", width)?;
        sizes(
            op,
            &[
                ("x", x.values.len(), product(&[codes.rows, width])),
                (
                    "d_encoder",
                    d_encoder.values.len(),
                    product(&[codes.features, width]),
                ),
                ("d_bias", d_bias.values.len(), codes.features),
            ],
        )?;
        let x = x.wide(codes.rows * width);
        let (mut sums, mut biases) = (vec![0.0; codes.features * width], vec![0.0; codes.features]);
        for pair in &codes.pairs {
            biases[pair.feature] += pair.gradient;
            for j in 0..width {
                sums[pair.feature * width + j] += pair.gradient * x[pair.row * width + j];
            }
        }
        if accumulate {
            d_encoder.accumulate(&sums);
        } else {
            d_encoder.store(&sums);
        }
        d_bias.store(&biases);
        Ok(())
    }

    fn scale_and_shift(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
        scale: f32,
        shift: Option<&ReferenceBuffer>,
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        let op = "scale_and_shift";
        operands::not_zero(op, "width", width)?;
        let count = product(&[n, width]);
        sizes(
            op,
            &[
                ("x", x.values.len(), count),
                ("shift", shift.map_or(width, |shift| shift.values.len()), width),
                ("y", y.values.len(), count),
            ],
        )?;
        let shift = |i: usize| shift.map_or(0.0, |shift| f64::from(shift.values[i % width]));
        let values: Vec<f64> = (x.wide(count).iter().enumerate())
            .map(|(i, x)| f64::from(scale) * x - shift(i))
            .collect();
        y.store(&values);
        Ok(())
    }

    fn column_sums(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
        accumulate: bool,
        sums: &mut ReferenceBuffer,
    ) -> Result<()> {
        let op = "column_sums";
        operands::not_zero(op, "width", width)?;
        let count = product(&[n, width]);
        sizes(
            op,
            &[("x", x.values.len(), count), ("sums", sums.values.len(), width)],
        )?;
        let mut columns = vec![0.0; width];
        for (i, x) in x.wide(count).into_iter().enumerate() {
            columns[i % width] += x;
        }
        if accumulate {
            sums.accumulate(&columns);
        } else {
            sums.store(&columns);
        }
        Ok(())
    }

    fn sum_of_squares(&self, x: &ReferenceBuffer, n: usize) -> Result<f64> {
        sizes("sum_of_squares", &[("x", x.values.len(), n)])?;
        Ok(x.wide(n).iter().map(|x| x * x).sum())
    }

    fn relu_rows(
        &self,
        z: &mut ReferenceBuffer,
        n: usize,
        features: usize,
        bias: &ReferenceBuffer,
        counts: &mut [u32],
    ) -> Result<CodeTotals> {
        let op = "relu_rows";
        operands::not_zero(op, "features", features)?;
        let count = product(&[n, features]);
        sizes(
            op,
            &[
                ("z", z.values.len(), count),
                ("bias", bias.values.len(), features),
                ("counts", counts.len(), features),
            ],
        )?;
        let mut totals = CodeTotals::default();
        for i in 0..count {
            let f = relu(f64::from(z.values[i]) + f64::from(bias.values[i % features]));
            z.values[i] = f as f32;
            if f != 0.0 {
                counts[i % features] += 1;
                totals.active += 1;
                totals.sum += f;
            }
        }
        Ok(totals)
    }

    fn relu_rows_backward(
        &self,
        f: &ReferenceBuffer,
        n: usize,
        features: usize,
        l1: f32,
        d: &mut ReferenceBuffer,
    ) -> Result<()> {
        let count = product(&[n, features]);
        sizes(
            "relu_rows_backward",
            &[("f", f.values.len(), count), ("d", d.values.len(), count)],
        )?;
        for (d, &f) in d.values[..count].iter_mut().zip(&f.values) {
            *d = if f <= 0.0 { 0.0 } else { *d + l1 };
        }
        Ok(())
    }

    fn remove_parallel(
        &self,
        gradient: &mut ReferenceBuffer,
        weights: &ReferenceBuffer,
        rows: usize,
        width: usize,
    ) -> Result<()> {
        let op = "remove_parallel";
        operands::not_zero(op, "width", width)?;
        let count = product(&[rows, width]);
        sizes(
            op,
            &[
                ("gradient", gradient.values.len(), count),
                ("weights", weights.values.len(), count),
            ],
        )?;
        let (mut values, weights) = (gradient.wide(count), weights.wide(count));
        for (values, weights) in values.chunks_mut(width).zip(weights.chunks(width)) {
            let square: f64 = weights.iter().map(|w| w * w).sum();
            if square > 0.0 {
                let along = values.iter().zip(weights).map(|(g, w)| g * w).sum::<f64>() / square;
                values.iter_mut().zip(weights).for_each(|(g, w)| *g -= along * w);
            }
        }
        gradient.store(&values);
        Ok(())
    }

    fn adam(
        &self,
        trained: Trained<'_, ReferenceBuffer>,
        gradient: &ReferenceBuffer,
        rows: usize,
        width: usize,
        step: &AdamStep,
        unit_rows: bool,
    ) -> Result<()> {
        let op = "adam";
        operands::not_zero(op, "width", width)?;
        operands::adam(op, step)?;
        let count = product(&[rows, width]);
        sizes(
            op,
            &[
                ("weights", trained.weights.values.len(), count),
                ("first", trained.first.values.len(), count),
                ("second", trained.second.values.len(), count),
                ("gradient", gradient.values.len(), count),
            ],
        )?;
        let mut weights = trained.weights.wide(count);
        let (mut first, mut second) = (trained.first.wide(count), trained.second.wide(count));
        let power = step.step as f64;
        for i in 0..count {
            let g = f64::from(step.gradient_scale) * f64::from(gradient.values[i]);
            first[i] = step.beta1 * first[i] + (1.0 - step.beta1) * g;
            second[i] = step.beta2 * second[i] + (1.0 - step.beta2) * g * g;
            let mean = first[i] / (1.0 - step.beta1.powf(power));
            let square = second[i] / (1.0 - step.beta2.powf(power));
            weights[i] -= step.learning_rate * mean / (square.sqrt() + step.epsilon);
        }
        if unit_rows {
            for row in weights.chunks_mut(width) {
                let length = row.iter().map(|w| w * w).sum::<f64>().sqrt();
                if length > 0.0 {
                    row.iter_mut().for_each(|w| *w /= length);
                }
            }
        }
        trained.weights.store(&weights);
        trained.first.store(&first);
        trained.second.store(&second);
        Ok(())
    }

    fn raise_to(&self, x: &mut ReferenceBuffer, n: usize, least: f32) -> Result<()> {
        sizes("raise_to", &[("x", x.values.len(), n)])?;
        for x in &mut x.values[..n] {
            if *x < least {
                *x = least;
            }
        }
        Ok(())
    }
}
