//! [`ReferenceBackend`]: hands the operands to the definitions and rounds their results to f32.

use super::edits::Features;
use super::memory::{ReferenceBuffer, ReferenceMatrix, wide, widen};
use super::{attention, edits, norms, pointwise, products, selection};
use crate::backend::{
    ActivationKind, AttentionShape, Backend, FeatureDelta, FeatureRows, NormKind, Result, SharedKeys,
    StoredValues, TopEntries, VocabularyStatistics,
};
use crate::matmul::Layout;
use crate::operands::{self, FeatureSizes, product, sizes};

/// The backend that other backends are checked against.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceBackend;

impl ReferenceBuffer {
    fn len(&self) -> usize {
        self.values.len()
    }
}

impl ReferenceMatrix {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn copy_rows(&self, rows: &[u32], dst: &mut ReferenceBuffer) {
        copy_rows(
            &self.values,
            self.columns,
            rows.iter().map(|&row| row as usize).zip(0..),
            &mut dst.values,
        );
    }
}

/// Copies row `from` of `src` to row `to` of `dst` for every pair.
fn copy_rows(src: &[f32], width: usize, pairs: impl Iterator<Item = (usize, usize)>, dst: &mut [f32]) {
    for (from, to) in pairs {
        for j in 0..width {
            dst[to * width + j] = src[from * width + j];
        }
    }
}

/// f over the leading n elements of x.
fn map(x: &ReferenceBuffer, n: usize, f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.wide(n).into_iter().map(f).collect()
}

fn feature_sizes(features: &FeatureRows<'_, ReferenceBuffer>) -> FeatureSizes {
    FeatureSizes {
        encoder: features.encoder.len(),
        decoder: features.decoder.len(),
        bias: features.bias.len(),
        threshold: features.threshold.len(),
    }
}

impl Backend for ReferenceBackend {
    type Buffer = ReferenceBuffer;
    type Matrix = ReferenceMatrix;

    fn name(&self) -> &'static str {
        "reference"
    }

    fn instruction_set(&self) -> String {
        format!("{} f64", std::env::consts::ARCH)
    }

    fn zeros(&self, len: usize) -> ReferenceBuffer {
        ReferenceBuffer {
            values: vec![0.0; len],
        }
    }

    fn upload(&self, values: &[f32]) -> ReferenceBuffer {
        ReferenceBuffer {
            values: values.to_vec(),
        }
    }

    fn len(&self, buffer: &ReferenceBuffer) -> usize {
        buffer.len()
    }

    fn write(&self, buffer: &mut ReferenceBuffer, at: usize, values: &[f32]) -> Result<()> {
        operands::range("write", "buffer", buffer.len(), at, values.len())?;
        buffer.values[at..at + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read(&self, buffer: &ReferenceBuffer, at: usize, values: &mut [f32]) -> Result<()> {
        operands::range("read", "buffer", buffer.len(), at, values.len())?;
        values.copy_from_slice(&buffer.values[at..at + values.len()]);
        Ok(())
    }

    fn matrix(&self, values: StoredValues<'_>, rows: usize, columns: usize) -> Result<ReferenceMatrix> {
        operands::stored("matrix", values, rows, columns)?;
        Ok(ReferenceMatrix {
            rows,
            columns,
            values: widen(values),
        })
    }

    fn matrix_from_transposed(
        &self,
        values: StoredValues<'_>,
        rows: usize,
        columns: usize,
    ) -> Result<ReferenceMatrix> {
        operands::stored("matrix_from_transposed", values, rows, columns)?;
        let transposed = widen(values);
        let values = (0..rows * columns)
            .map(|i| transposed[i % columns * rows + i / columns])
            .collect();
        Ok(ReferenceMatrix {
            rows,
            columns,
            values,
        })
    }

    fn matrix_shape(&self, matrix: &ReferenceMatrix) -> (usize, usize) {
        matrix.shape()
    }

    fn matrix_rows(&self, matrix: &ReferenceMatrix, rows: &[u32], dst: &mut ReferenceBuffer) -> Result<()> {
        operands::matrix_rows("matrix_rows", "rows", matrix.shape(), rows, dst.len())?;
        matrix.copy_rows(rows, dst);
        Ok(())
    }

    fn copy(&self, src: &ReferenceBuffer, n: usize, dst: &mut ReferenceBuffer) -> Result<()> {
        sizes("copy", &[("src", src.len(), n), ("dst", dst.len(), n)])?;
        dst.store(&src.wide(n));
        Ok(())
    }

    fn fill(&self, dst: &mut ReferenceBuffer, n: usize, value: f32) -> Result<()> {
        sizes("fill", &[("dst", dst.len(), n)])?;
        dst.values[..n].fill(value);
        Ok(())
    }

    fn gather_rows(
        &self,
        src: &ReferenceBuffer,
        width: usize,
        rows: &[u32],
        dst: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::gather("gather_rows", src.len(), width, rows, dst.len())?;
        copy_rows(
            &src.values,
            width,
            rows.iter().map(|&row| row as usize).zip(0..),
            &mut dst.values,
        );
        Ok(())
    }

    fn scatter_rows(
        &self,
        src: &ReferenceBuffer,
        width: usize,
        rows: &[u32],
        dst: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::scatter(src.len(), width, rows, dst.len())?;
        copy_rows(
            &src.values,
            width,
            (0..).zip(rows.iter().map(|&row| row as usize)),
            &mut dst.values,
        );
        Ok(())
    }

    fn cache_write(
        &self,
        new: &ReferenceBuffer,
        shape: &AttentionShape,
        cache: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::cache_write(new.len(), shape, cache.len())?;
        let slots = (0..shape.batch).flat_map(|b| (0..shape.queries).map(move |t| (b, t)));
        let pairs = slots.map(|(b, t)| (b * shape.queries + t, b * shape.capacity + shape.first_query + t));
        copy_rows(
            &new.values,
            shape.kv_heads * shape.head_dim,
            pairs,
            &mut cache.values,
        );
        Ok(())
    }

    fn cache_select(
        &self,
        src: &ReferenceBuffer,
        src_capacity: usize,
        width: usize,
        filled: usize,
        rows: &[u32],
        dst_capacity: usize,
        dst: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::cache_select(
            src.len(),
            (src_capacity, dst_capacity),
            width,
            filled,
            rows,
            dst.len(),
        )?;
        for (i, &row) in rows.iter().enumerate() {
            let pairs = (0..filled).map(|j| (row as usize * src_capacity + j, i * dst_capacity + j));
            copy_rows(&src.values, width, pairs, &mut dst.values);
        }
        Ok(())
    }

    fn add(&self, x: &ReferenceBuffer, n: usize, y: &mut ReferenceBuffer) -> Result<()> {
        sizes("add", &[("x", x.len(), n), ("y", y.len(), n)])?;
        y.accumulate(&x.wide(n));
        Ok(())
    }

    fn multiply_rows(
        &self,
        y: &mut ReferenceBuffer,
        n: usize,
        width: usize,
        w: &ReferenceBuffer,
    ) -> Result<()> {
        sizes(
            "multiply_rows",
            &[("y", y.len(), product(&[n, width])), ("w", w.len(), width)],
        )?;
        let product: Vec<f64> = (0..n * width)
            .map(|i| f64::from(y.values[i]) * f64::from(w.values[i % width]))
            .collect();
        y.store(&product);
        Ok(())
    }

    fn activation(
        &self,
        kind: ActivationKind,
        x: &ReferenceBuffer,
        n: usize,
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        sizes("activation", &[("x", x.len(), n), ("y", y.len(), n)])?;
        y.store(&map(x, n, |x| pointwise::value(kind, x)));
        Ok(())
    }

    fn activation_backward(
        &self,
        kind: ActivationKind,
        x: &ReferenceBuffer,
        d_y: &ReferenceBuffer,
        n: usize,
        d_x: &mut ReferenceBuffer,
    ) -> Result<()> {
        sizes(
            "activation_backward",
            &[("x", x.len(), n), ("d_y", d_y.len(), n), ("d_x", d_x.len(), n)],
        )?;
        let slopes = map(x, n, |x| pointwise::slope(kind, x));
        d_x.store(
            &slopes
                .iter()
                .zip(d_y.wide(n))
                .map(|(slope, d)| slope * d)
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    fn gated_activation(
        &self,
        kind: ActivationKind,
        gate: &ReferenceBuffer,
        up: &ReferenceBuffer,
        n: usize,
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        sizes(
            "gated_activation",
            &[("gate", gate.len(), n), ("up", up.len(), n), ("y", y.len(), n)],
        )?;
        let values = map(gate, n, |gate| pointwise::value(kind, gate));
        y.store(
            &values
                .iter()
                .zip(up.wide(n))
                .map(|(value, up)| value * up)
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    fn gated_activation_backward(
        &self,
        kind: ActivationKind,
        gate: &ReferenceBuffer,
        up: &ReferenceBuffer,
        d_y: &ReferenceBuffer,
        n: usize,
        d_gate: &mut ReferenceBuffer,
        d_up: &mut ReferenceBuffer,
    ) -> Result<()> {
        let inputs = [
            ("gate", gate.len(), n),
            ("up", up.len(), n),
            ("d_y", d_y.len(), n),
        ];
        sizes("gated_activation_backward", &inputs)?;
        sizes(
            "gated_activation_backward",
            &[("d_gate", d_gate.len(), n), ("d_up", d_up.len(), n)],
        )?;
        let (gate, up, d_y) = (gate.wide(n), up.wide(n), d_y.wide(n));
        d_gate.store(
            &(0..n)
                .map(|i| pointwise::slope(kind, gate[i]) * up[i] * d_y[i])
                .collect::<Vec<_>>(),
        );
        d_up.store(
            &(0..n)
                .map(|i| pointwise::value(kind, gate[i]) * d_y[i])
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    fn embed(&self, table: &ReferenceMatrix, ids: &[u32], dst: &mut ReferenceBuffer) -> Result<()> {
        operands::matrix_rows("embed", "ids", table.shape(), ids, dst.len())?;
        table.copy_rows(ids, dst);
        Ok(())
    }

    fn linear(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        matrix: &ReferenceMatrix,
        bias: Option<&ReferenceBuffer>,
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::linear(
            x.len(),
            n,
            matrix.shape(),
            bias.map(ReferenceBuffer::len),
            y.len(),
        )?;
        let (rows, columns) = matrix.shape();
        let bias = bias.map(|bias| bias.wide(rows));
        let x = x.wide(n * columns);
        y.store(&products::linear(
            &x,
            n,
            &matrix.wide(),
            rows,
            columns,
            bias.as_deref(),
        ));
        Ok(())
    }

    fn linear_backward(
        &self,
        d_y: &ReferenceBuffer,
        n: usize,
        matrix: &ReferenceMatrix,
        accumulate: bool,
        d_x: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::linear_backward(d_y.len(), n, matrix.shape(), d_x.len())?;
        let (rows, columns) = matrix.shape();
        let product = products::linear_backward(&d_y.wide(n * rows), n, &matrix.wide(), rows, columns);
        if accumulate {
            d_x.accumulate(&product);
        } else {
            d_x.store(&product);
        }
        Ok(())
    }

    fn matmul(
        &self,
        dst: &mut ReferenceBuffer,
        m: usize,
        n: usize,
        lhs: &ReferenceBuffer,
        lhs_layout: Layout,
        rhs: &ReferenceBuffer,
        rhs_layout: Layout,
        k: usize,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        sizes(
            "matmul",
            &[
                ("dst", dst.len(), product(&[m, n])),
                ("lhs", lhs.len(), product(&[m, k])),
                ("rhs", rhs.len(), product(&[k, n])),
            ],
        )?;
        let (lhs, rhs) = (lhs.wide(m * k), rhs.wide(k * n));
        let product = products::matmul((m, n, k), &lhs, lhs_layout, &rhs, rhs_layout);
        for (to, product) in dst.values.iter_mut().zip(product) {
            let old = if alpha == 0.0 {
                0.0
            } else {
                f64::from(alpha) * f64::from(*to)
            };
            *to = (old + f64::from(beta) * product) as f32;
        }
        Ok(())
    }

    fn norm_scale(
        &self,
        kind: NormKind,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
        eps: f32,
        scale: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_scale",
            (n, width),
            &[("x", x.len())],
            &[("scale", scale.len())],
            &[],
        )?;
        scale.store(&norms::norm_scale(
            kind,
            &x.wide(n * width),
            width,
            f64::from(eps),
        ));
        Ok(())
    }

    fn norm_apply(
        &self,
        kind: NormKind,
        x: &ReferenceBuffer,
        scale: &ReferenceBuffer,
        n: usize,
        width: usize,
        weight: Option<&ReferenceBuffer>,
        bias: Option<&ReferenceBuffer>,
        y: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_apply",
            (n, width),
            &[("x", x.len()), ("y", y.len())],
            &[("scale", scale.len())],
            &[
                ("weight", weight.map(ReferenceBuffer::len)),
                ("bias", bias.map(ReferenceBuffer::len)),
            ],
        )?;
        let (weight, bias) = (
            weight.map(|weight| weight.wide(width)),
            bias.map(|bias| bias.wide(width)),
        );
        let (x, scale) = (x.wide(n * width), scale.wide(n));
        y.store(&norms::norm_apply(
            kind,
            &x,
            &scale,
            width,
            weight.as_deref(),
            bias.as_deref(),
        ));
        Ok(())
    }

    fn norm_apply_backward(
        &self,
        kind: NormKind,
        x: &ReferenceBuffer,
        scale: &ReferenceBuffer,
        d_y: &ReferenceBuffer,
        n: usize,
        width: usize,
        weight: Option<&ReferenceBuffer>,
        accumulate: bool,
        d_x: &mut ReferenceBuffer,
        d_scale: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_apply_backward",
            (n, width),
            &[("x", x.len()), ("d_y", d_y.len()), ("d_x", d_x.len())],
            &[("scale", scale.len()), ("d_scale", d_scale.len())],
            &[("weight", weight.map(ReferenceBuffer::len))],
        )?;
        let weight = weight.map(|weight| weight.wide(width));
        let (x, scale, d_y) = (x.wide(n * width), scale.wide(n), d_y.wide(n * width));
        let (by_x, by_scale) = norms::norm_apply_backward(kind, &x, &scale, &d_y, width, weight.as_deref());
        if accumulate {
            d_x.accumulate(&by_x);
        } else {
            d_x.store(&by_x);
        }
        d_scale.store(&by_scale);
        Ok(())
    }

    fn norm_scale_backward(
        &self,
        kind: NormKind,
        x: &ReferenceBuffer,
        scale: &ReferenceBuffer,
        d_scale: &ReferenceBuffer,
        n: usize,
        width: usize,
        d_x: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_scale_backward",
            (n, width),
            &[("x", x.len()), ("d_x", d_x.len())],
            &[("scale", scale.len()), ("d_scale", d_scale.len())],
            &[],
        )?;
        let (x, scale, d_scale) = (x.wide(n * width), scale.wide(n), d_scale.wide(n));
        d_x.accumulate(&norms::norm_scale_backward(kind, &x, &scale, &d_scale, width));
        Ok(())
    }

    fn rotary(
        &self,
        x: &mut ReferenceBuffer,
        n: usize,
        heads: usize,
        head_dim: usize,
        cos: &ReferenceBuffer,
        sin: &ReferenceBuffer,
        half_rotary: usize,
        positions: &[u32],
        inverse: bool,
    ) -> Result<()> {
        operands::rotary(
            x.len(),
            (n, heads, head_dim),
            (cos.len(), sin.len(), half_rotary),
            positions,
        )?;
        let mut turned = x.wide(n * heads * head_dim);
        let (cos, sin) = (wide(&cos.values), wide(&sin.values));
        let table = (&cos[..], &sin[..], half_rotary);
        attention::rotary(&mut turned, (heads, head_dim), table, &positions[..n], inverse);
        x.store(&turned);
        Ok(())
    }

    fn attention(
        &self,
        q: &ReferenceBuffer,
        k: &ReferenceBuffer,
        v: &ReferenceBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention",
            shape,
            Some(first_key.len()),
            &[("q", q.len()), ("z", z.len())],
            &[("k", k.len()), ("v", v.len())],
            &[],
        )?;
        let (q, k, v) = (wide(&q.values), wide(&k.values), wide(&v.values));
        z.store(&attention::attention(&q, &k, &v, shape, first_key));
        Ok(())
    }

    fn attention_after_shared(
        &self,
        q: &ReferenceBuffer,
        shared: &SharedKeys<'_, ReferenceBuffer>,
        k: &ReferenceBuffer,
        v: &ReferenceBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_after_shared",
            shape,
            Some(first_key.len()),
            &[("q", q.len()), ("z", z.len())],
            &[("k", k.len()), ("v", v.len())],
            &[],
        )?;
        operands::shared_keys(shape, shared, shared.key.len(), shared.value.len())?;
        let [q, shared_k, shared_v, k, v] =
            [q, shared.key, shared.value, k, v].map(|buffer| wide(&buffer.values));
        z.store(&attention::attention_after_shared(
            &q,
            (&shared_k, &shared_v),
            shared,
            (&k, &v),
            shape,
            first_key,
        ));
        Ok(())
    }

    fn attention_scores(
        &self,
        q: &ReferenceBuffer,
        k: &ReferenceBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        scores: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_scores",
            shape,
            Some(first_key.len()),
            &[("q", q.len())],
            &[("k", k.len())],
            &[("scores", scores.len())],
        )?;
        scores.store(&attention::attention_scores(
            &wide(&q.values),
            &wide(&k.values),
            shape,
            first_key,
        ));
        Ok(())
    }

    fn softmax(&self, x: &mut ReferenceBuffer, n: usize, width: usize) -> Result<()> {
        operands::row_buffers("softmax", (n, width), &[("x", x.len())])?;
        let mut values = x.wide(n * width);
        attention::softmax(&mut values, width);
        x.store(&values);
        Ok(())
    }

    fn attention_mix(
        &self,
        pattern: &ReferenceBuffer,
        v: &ReferenceBuffer,
        shape: &AttentionShape,
        z: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_mix",
            shape,
            None,
            &[("z", z.len())],
            &[("v", v.len())],
            &[("pattern", pattern.len())],
        )?;
        z.store(&attention::attention_mix(
            &wide(&pattern.values),
            &wide(&v.values),
            shape,
        ));
        Ok(())
    }

    fn attention_mix_backward(
        &self,
        d_z: &ReferenceBuffer,
        pattern: &ReferenceBuffer,
        v: &ReferenceBuffer,
        shape: &AttentionShape,
        d_pattern: &mut ReferenceBuffer,
        d_v: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_mix_backward",
            shape,
            None,
            &[("d_z", d_z.len())],
            &[("v", v.len()), ("d_v", d_v.len())],
            &[("pattern", pattern.len()), ("d_pattern", d_pattern.len())],
        )?;
        let (d_z, pattern, v) = (wide(&d_z.values), wide(&pattern.values), wide(&v.values));
        let (by_pattern, by_v) = attention::attention_mix_backward(&d_z, &pattern, &v, shape);
        d_pattern.store(&by_pattern);
        d_v.store(&by_v);
        Ok(())
    }

    fn softmax_backward(
        &self,
        y: &ReferenceBuffer,
        n: usize,
        width: usize,
        d_y: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::row_buffers(
            "softmax_backward",
            (n, width),
            &[("y", y.len()), ("d_y", d_y.len())],
        )?;
        let d_x = attention::softmax_backward(&y.wide(n * width), &d_y.wide(n * width), width);
        d_y.store(&d_x);
        Ok(())
    }

    fn attention_scores_backward(
        &self,
        d_scores: &ReferenceBuffer,
        q: &ReferenceBuffer,
        k: &ReferenceBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        d_q: &mut ReferenceBuffer,
        d_k: &mut ReferenceBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_scores_backward",
            shape,
            Some(first_key.len()),
            &[("q", q.len()), ("d_q", d_q.len())],
            &[("k", k.len()), ("d_k", d_k.len())],
            &[("d_scores", d_scores.len())],
        )?;
        let (d_scores, q, k) = (wide(&d_scores.values), wide(&q.values), wide(&k.values));
        let (by_q, by_k) = attention::attention_scores_backward(&d_scores, &q, &k, shape, first_key);
        d_q.store(&by_q);
        d_k.store(&by_k);
        Ok(())
    }

    fn set_rows(
        &self,
        x: &mut ReferenceBuffer,
        width: usize,
        rows: &[u32],
        values: &ReferenceBuffer,
        k: usize,
    ) -> Result<()> {
        operands::repeated_rows("set_rows", x.len(), width, rows, values.len(), k)?;
        let pairs = rows.iter().enumerate().map(|(i, &row)| (i % k, row as usize));
        copy_rows(&values.values, width, pairs, &mut x.values);
        Ok(())
    }

    fn add_rows(
        &self,
        x: &mut ReferenceBuffer,
        width: usize,
        rows: &[u32],
        values: &ReferenceBuffer,
        k: usize,
    ) -> Result<()> {
        operands::repeated_rows("add_rows", x.len(), width, rows, values.len(), k)?;
        for (i, &row) in rows.iter().enumerate() {
            for j in 0..width {
                x.values[row as usize * width + j] += values.values[i % k * width + j];
            }
        }
        Ok(())
    }

    fn scale_rows(&self, x: &mut ReferenceBuffer, width: usize, rows: &[u32], factor: f32) -> Result<()> {
        if !rows.is_empty() {
            operands::rows("scale_rows", "rows", rows, x.len(), width)?;
        }
        for &row in rows {
            for x in &mut x.values[row as usize * width..(row as usize + 1) * width] {
                *x = if factor == 0.0 { 0.0 } else { *x * factor };
            }
        }
        Ok(())
    }

    fn feature_delta(
        &self,
        x: &mut ReferenceBuffer,
        width: usize,
        features: &FeatureRows<'_, ReferenceBuffer>,
        deltas: &[FeatureDelta],
    ) -> Result<()> {
        let edited = [("x", x.len())];
        operands::feature_deltas("feature_delta", &edited, width, feature_sizes(features), deltas)?;
        let (encoder, decoder) = (wide(&features.encoder.values), wide(&features.decoder.values));
        let (bias, threshold) = (features.bias, features.threshold);
        let features = Features {
            encoder: &encoder,
            decoder: &decoder,
            bias,
            threshold,
        };
        x.store(&edits::feature_delta(&wide(&x.values), width, features, deltas));
        Ok(())
    }

    fn feature_delta_backward(
        &self,
        x: &ReferenceBuffer,
        d: &mut ReferenceBuffer,
        width: usize,
        features: &FeatureRows<'_, ReferenceBuffer>,
        deltas: &[FeatureDelta],
    ) -> Result<()> {
        let edited = [("x", x.len()), ("d", d.len())];
        operands::feature_deltas(
            "feature_delta_backward",
            &edited,
            width,
            feature_sizes(features),
            deltas,
        )?;
        let (encoder, decoder) = (wide(&features.encoder.values), wide(&features.decoder.values));
        let (bias, threshold) = (features.bias, features.threshold);
        let features = Features {
            encoder: &encoder,
            decoder: &decoder,
            bias,
            threshold,
        };
        d.store(&edits::feature_delta_backward(
            &wide(&x.values),
            &wide(&d.values),
            width,
            features,
            deltas,
        ));
        Ok(())
    }

    fn threshold(
        &self,
        x: &mut ReferenceBuffer,
        n: usize,
        width: usize,
        threshold: &ReferenceBuffer,
    ) -> Result<()> {
        operands::norm(
            "threshold",
            (n, width),
            &[("x", x.len())],
            &[],
            &[("threshold", Some(threshold.len()))],
        )?;
        for (i, x) in x.values[..n * width].iter_mut().enumerate() {
            if !x.is_nan() && *x <= threshold.values[i % width] {
                *x = 0.0;
            }
        }
        Ok(())
    }

    fn keep_top_k(&self, x: &mut ReferenceBuffer, n: usize, width: usize, k: usize) -> Result<()> {
        operands::row_buffers("keep_top_k", (n, width), &[("x", x.len())])?;
        for row in x.values[..n * width].chunks_mut(width) {
            let kept = selection::top_entries(row, k);
            row.fill(0.0);
            for (&i, &value) in kept.indices.iter().zip(&kept.values) {
                row[i as usize] = if value.is_nan() { value } else { value.max(0.0) };
            }
        }
        Ok(())
    }

    fn top_entries(&self, x: &ReferenceBuffer, n: usize, width: usize, k: usize) -> Result<Vec<TopEntries>> {
        operands::row_buffers("top_entries", (n, width), &[("x", x.len())])?;
        Ok(x.values[..n * width]
            .chunks(width)
            .map(|row| selection::top_entries(row, k))
            .collect())
    }

    fn vocabulary_statistics(
        &self,
        logits: &ReferenceBuffer,
        n: usize,
        width: usize,
    ) -> Result<Vec<VocabularyStatistics>> {
        operands::row_buffers("vocabulary_statistics", (n, width), &[("logits", logits.len())])?;
        Ok(logits.values[..n * width]
            .chunks(width)
            .map(selection::vocabulary_statistics)
            .collect())
    }

    fn first_non_finite(
        &self,
        x: &ReferenceBuffer,
        n: usize,
        width: usize,
    ) -> Result<Option<(usize, usize)>> {
        operands::row_buffers("first_non_finite", (n, width), &[("x", x.len())])?;
        let found = x.values[..n * width].iter().position(|x| !x.is_finite());
        Ok(found.map(|i| (i / width, i % width)))
    }
}
