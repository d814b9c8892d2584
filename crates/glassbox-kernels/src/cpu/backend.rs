//! [`CpuBackend`]: checks the operands of every operation and hands their elements to the kernels.

use std::sync::Arc;

use super::edits::Features;
use super::elements::with_elements;
use super::instructions::Instructions;
use super::matrix::CpuMatrix;
use super::memory::CpuBuffer;
use super::{
    attention, edits, memory, norms, pointwise, products, rotary, selection, shared_attention, softmax,
};
use crate::backend::{
    ActivationKind, AttentionShape, Backend, FeatureDelta, FeatureRows, NormKind, Result, SharedKeys,
    StoredType, StoredValues, TopEntries, VocabularyStatistics,
};
use crate::mapped_file::MappedFile;
use crate::matmul::{Layout, matmul};
use crate::operands::{self, FeatureSizes, product, sizes};

/// The backend on the host's processor.
///
/// Vector instructions (AVX-512, AVX2 with FMA, NEON) are chosen at run time. Large operations use several threads: on a
/// thread of a rayon pool those of the pool, elsewhere the process's helpers, as many as rayon's global pool has.
/// Results do not depend on the number of threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuBackend;

fn feature_sizes(features: &FeatureRows<'_, CpuBuffer>) -> FeatureSizes {
    FeatureSizes {
        encoder: features.encoder.len(),
        decoder: features.decoder.len(),
        bias: features.bias.len(),
        threshold: features.threshold.len(),
    }
}

fn feature_values<'a>(features: &FeatureRows<'a, CpuBuffer>) -> Features<'a> {
    Features {
        encoder: features.encoder.values(),
        decoder: features.decoder.values(),
        bias: features.bias,
        threshold: features.threshold,
    }
}

impl Backend for CpuBackend {
    type Buffer = CpuBuffer;
    type Matrix = CpuMatrix;

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn instruction_set(&self) -> String {
        Instructions::detect().describe()
    }

    fn zeros(&self, len: usize) -> CpuBuffer {
        CpuBuffer::zeros(len)
    }

    fn upload(&self, values: &[f32]) -> CpuBuffer {
        CpuBuffer::from_values(values)
    }

    fn len(&self, buffer: &CpuBuffer) -> usize {
        buffer.len()
    }

    fn write(&self, buffer: &mut CpuBuffer, at: usize, values: &[f32]) -> Result<()> {
        operands::range("write", "buffer", buffer.len(), at, values.len())?;
        buffer.values_mut()[at..at + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read(&self, buffer: &CpuBuffer, at: usize, values: &mut [f32]) -> Result<()> {
        operands::range("read", "buffer", buffer.len(), at, values.len())?;
        memory::copy(&buffer.values()[at..at + values.len()], values);
        Ok(())
    }

    fn matrix(&self, values: StoredValues<'_>, rows: usize, columns: usize) -> Result<CpuMatrix> {
        operands::stored("matrix", values, rows, columns)?;
        Ok(CpuMatrix::from_stored(values, rows, columns))
    }

    fn matrix_mapped(
        &self,
        file: &Arc<MappedFile>,
        at: usize,
        element: StoredType,
        rows: usize,
        columns: usize,
    ) -> Result<CpuMatrix> {
        operands::mapped("matrix_mapped", file.as_bytes(), at, element, rows, columns)?;
        Ok(CpuMatrix::from_mapped(file, at, element, rows, columns))
    }

    fn matrix_from_transposed(
        &self,
        values: StoredValues<'_>,
        rows: usize,
        columns: usize,
    ) -> Result<CpuMatrix> {
        operands::stored("matrix_from_transposed", values, rows, columns)?;
        Ok(CpuMatrix::from_transposed(values, rows, columns))
    }

    fn matrix_shape(&self, matrix: &CpuMatrix) -> (usize, usize) {
        matrix.shape()
    }

    fn matrix_rows(&self, matrix: &CpuMatrix, rows: &[u32], dst: &mut CpuBuffer) -> Result<()> {
        operands::matrix_rows("matrix_rows", "rows", matrix.shape(), rows, dst.len())?;
        with_elements!(matrix.elements(), from => {
            memory::gather_rows(from, matrix.shape().1, rows, dst.values_mut());
        });
        Ok(())
    }

    fn copy(&self, src: &CpuBuffer, n: usize, dst: &mut CpuBuffer) -> Result<()> {
        sizes("copy", &[("src", src.len(), n), ("dst", dst.len(), n)])?;
        memory::copy(&src.values()[..n], &mut dst.values_mut()[..n]);
        Ok(())
    }

    fn fill(&self, dst: &mut CpuBuffer, n: usize, value: f32) -> Result<()> {
        sizes("fill", &[("dst", dst.len(), n)])?;
        dst.values_mut()[..n].fill(value);
        Ok(())
    }

    fn gather_rows(&self, src: &CpuBuffer, width: usize, rows: &[u32], dst: &mut CpuBuffer) -> Result<()> {
        operands::gather("gather_rows", src.len(), width, rows, dst.len())?;
        memory::gather_rows(src.values(), width, rows, dst.values_mut());
        Ok(())
    }

    fn scatter_rows(&self, src: &CpuBuffer, width: usize, rows: &[u32], dst: &mut CpuBuffer) -> Result<()> {
        operands::scatter(src.len(), width, rows, dst.len())?;
        memory::scatter_rows(src.values(), width, rows, dst.values_mut());
        Ok(())
    }

    fn cache_write(&self, new: &CpuBuffer, shape: &AttentionShape, cache: &mut CpuBuffer) -> Result<()> {
        operands::cache_write(new.len(), shape, cache.len())?;
        memory::cache_write(new.values(), shape, cache.values_mut());
        Ok(())
    }

    fn cache_select(
        &self,
        src: &CpuBuffer,
        src_capacity: usize,
        width: usize,
        filled: usize,
        rows: &[u32],
        dst_capacity: usize,
        dst: &mut CpuBuffer,
    ) -> Result<()> {
        operands::cache_select(
            src.len(),
            (src_capacity, dst_capacity),
            width,
            filled,
            rows,
            dst.len(),
        )?;
        memory::cache_select(
            src.values(),
            src_capacity,
            width,
            filled,
            rows,
            dst_capacity,
            dst.values_mut(),
        );
        Ok(())
    }

    fn add(&self, x: &CpuBuffer, n: usize, y: &mut CpuBuffer) -> Result<()> {
        sizes("add", &[("x", x.len(), n), ("y", y.len(), n)])?;
        pointwise::add(&x.values()[..n], &mut y.values_mut()[..n]);
        Ok(())
    }

    fn multiply_rows(&self, y: &mut CpuBuffer, n: usize, width: usize, w: &CpuBuffer) -> Result<()> {
        sizes(
            "multiply_rows",
            &[("y", y.len(), product(&[n, width])), ("w", w.len(), width)],
        )?;
        pointwise::multiply_rows(&mut y.values_mut()[..n * width], width, w.values());
        Ok(())
    }

    fn activation(&self, kind: ActivationKind, x: &CpuBuffer, n: usize, y: &mut CpuBuffer) -> Result<()> {
        sizes("activation", &[("x", x.len(), n), ("y", y.len(), n)])?;
        pointwise::activation(kind, x.values(), &mut y.values_mut()[..n]);
        Ok(())
    }

    fn activation_backward(
        &self,
        kind: ActivationKind,
        x: &CpuBuffer,
        d_y: &CpuBuffer,
        n: usize,
        d_x: &mut CpuBuffer,
    ) -> Result<()> {
        sizes(
            "activation_backward",
            &[("x", x.len(), n), ("d_y", d_y.len(), n), ("d_x", d_x.len(), n)],
        )?;
        pointwise::activation_backward(kind, x.values(), d_y.values(), &mut d_x.values_mut()[..n]);
        Ok(())
    }

    fn gated_activation(
        &self,
        kind: ActivationKind,
        gate: &CpuBuffer,
        up: &CpuBuffer,
        n: usize,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        sizes(
            "gated_activation",
            &[("gate", gate.len(), n), ("up", up.len(), n), ("y", y.len(), n)],
        )?;
        pointwise::gated_activation(kind, gate.values(), up.values(), &mut y.values_mut()[..n]);
        Ok(())
    }

    fn gated_activation_backward(
        &self,
        kind: ActivationKind,
        gate: &CpuBuffer,
        up: &CpuBuffer,
        d_y: &CpuBuffer,
        n: usize,
        d_gate: &mut CpuBuffer,
        d_up: &mut CpuBuffer,
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
        pointwise::gated_activation_backward(
            kind,
            gate.values(),
            up.values(),
            d_y.values(),
            &mut d_gate.values_mut()[..n],
            &mut d_up.values_mut()[..n],
        );
        Ok(())
    }

    fn embed(&self, table: &CpuMatrix, ids: &[u32], dst: &mut CpuBuffer) -> Result<()> {
        operands::matrix_rows("embed", "ids", table.shape(), ids, dst.len())?;
        with_elements!(table.elements(), from => {
            memory::gather_rows(from, table.shape().1, ids, dst.values_mut());
        });
        Ok(())
    }

    fn linear(
        &self,
        x: &CpuBuffer,
        n: usize,
        matrix: &CpuMatrix,
        bias: Option<&CpuBuffer>,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        operands::linear(x.len(), n, matrix.shape(), bias.map(CpuBuffer::len), y.len())?;
        products::linear(x.values(), n, matrix, bias.map(CpuBuffer::values), y.values_mut());
        Ok(())
    }

    fn linear_backward(
        &self,
        d_y: &CpuBuffer,
        n: usize,
        matrix: &CpuMatrix,
        accumulate: bool,
        d_x: &mut CpuBuffer,
    ) -> Result<()> {
        operands::linear_backward(d_y.len(), n, matrix.shape(), d_x.len())?;
        products::linear_backward(d_y.values(), n, matrix, accumulate, d_x.values_mut());
        Ok(())
    }

    fn matmul(
        &self,
        dst: &mut CpuBuffer,
        m: usize,
        n: usize,
        lhs: &CpuBuffer,
        lhs_layout: Layout,
        rhs: &CpuBuffer,
        rhs_layout: Layout,
        k: usize,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        matmul(
            dst.values_mut(),
            m,
            n,
            lhs.values(),
            lhs_layout,
            rhs.values(),
            rhs_layout,
            k,
            alpha,
            beta,
        )
    }

    fn norm_scale(
        &self,
        kind: NormKind,
        x: &CpuBuffer,
        n: usize,
        width: usize,
        eps: f32,
        scale: &mut CpuBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_scale",
            (n, width),
            &[("x", x.len())],
            &[("scale", scale.len())],
            &[],
        )?;
        norms::norm_scale(
            kind,
            &x.values()[..n * width],
            width,
            eps,
            &mut scale.values_mut()[..n],
        );
        Ok(())
    }

    fn norm_apply(
        &self,
        kind: NormKind,
        x: &CpuBuffer,
        scale: &CpuBuffer,
        n: usize,
        width: usize,
        weight: Option<&CpuBuffer>,
        bias: Option<&CpuBuffer>,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_apply",
            (n, width),
            &[("x", x.len()), ("y", y.len())],
            &[("scale", scale.len())],
            &[
                ("weight", weight.map(CpuBuffer::len)),
                ("bias", bias.map(CpuBuffer::len)),
            ],
        )?;
        norms::norm_apply(
            kind,
            x.values(),
            scale.values(),
            width,
            weight.map(|weight| &weight.values()[..width]),
            bias.map(|bias| &bias.values()[..width]),
            &mut y.values_mut()[..n * width],
        );
        Ok(())
    }

    fn norm_apply_backward(
        &self,
        kind: NormKind,
        x: &CpuBuffer,
        scale: &CpuBuffer,
        d_y: &CpuBuffer,
        n: usize,
        width: usize,
        weight: Option<&CpuBuffer>,
        accumulate: bool,
        d_x: &mut CpuBuffer,
        d_scale: &mut CpuBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_apply_backward",
            (n, width),
            &[("x", x.len()), ("d_y", d_y.len()), ("d_x", d_x.len())],
            &[("scale", scale.len()), ("d_scale", d_scale.len())],
            &[("weight", weight.map(CpuBuffer::len))],
        )?;
        norms::norm_apply_backward(
            kind,
            x.values(),
            scale.values(),
            d_y.values(),
            width,
            weight.map(|weight| &weight.values()[..width]),
            accumulate,
            &mut d_x.values_mut()[..n * width],
            &mut d_scale.values_mut()[..n],
        );
        Ok(())
    }

    fn norm_scale_backward(
        &self,
        kind: NormKind,
        x: &CpuBuffer,
        scale: &CpuBuffer,
        d_scale: &CpuBuffer,
        n: usize,
        width: usize,
        d_x: &mut CpuBuffer,
    ) -> Result<()> {
        operands::norm(
            "norm_scale_backward",
            (n, width),
            &[("x", x.len()), ("d_x", d_x.len())],
            &[("scale", scale.len()), ("d_scale", d_scale.len())],
            &[],
        )?;
        let d_x = &mut d_x.values_mut()[..n * width];
        norms::norm_scale_backward(kind, x.values(), scale.values(), d_scale.values(), width, d_x);
        Ok(())
    }

    fn rotary(
        &self,
        x: &mut CpuBuffer,
        n: usize,
        heads: usize,
        head_dim: usize,
        cos: &CpuBuffer,
        sin: &CpuBuffer,
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
        if half_rotary > 0 {
            let x = &mut x.values_mut()[..n * heads * head_dim];
            rotary::rotary(
                x,
                heads,
                head_dim,
                cos.values(),
                sin.values(),
                half_rotary,
                positions,
                inverse,
            );
        }
        Ok(())
    }

    fn attention(
        &self,
        q: &CpuBuffer,
        k: &CpuBuffer,
        v: &CpuBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut CpuBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention",
            shape,
            Some(first_key.len()),
            &[("q", q.len()), ("z", z.len())],
            &[("k", k.len()), ("v", v.len())],
            &[],
        )?;
        let z = &mut z.values_mut()[..operands::query_elements(shape)];
        attention::attention(q.values(), k.values(), v.values(), shape, first_key, z);
        Ok(())
    }

    fn attention_after_shared(
        &self,
        q: &CpuBuffer,
        shared: &SharedKeys<'_, CpuBuffer>,
        k: &CpuBuffer,
        v: &CpuBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut CpuBuffer,
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
        shared_attention::attention_after_shared(
            q.values(),
            (shared.key.values(), shared.value.values()),
            shared,
            (k.values(), v.values()),
            shape,
            first_key,
            z.values_mut(),
        );
        Ok(())
    }

    fn attention_scores(
        &self,
        q: &CpuBuffer,
        k: &CpuBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        scores: &mut CpuBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_scores",
            shape,
            Some(first_key.len()),
            &[("q", q.len())],
            &[("k", k.len())],
            &[("scores", scores.len())],
        )?;
        let scores = &mut scores.values_mut()[..operands::pattern_elements(shape)];
        attention::attention_scores(q.values(), k.values(), shape, first_key, scores);
        Ok(())
    }

    fn softmax(&self, x: &mut CpuBuffer, n: usize, width: usize) -> Result<()> {
        operands::row_buffers("softmax", (n, width), &[("x", x.len())])?;
        softmax::softmax(&mut x.values_mut()[..n * width], width);
        Ok(())
    }

    fn attention_mix(
        &self,
        pattern: &CpuBuffer,
        v: &CpuBuffer,
        shape: &AttentionShape,
        z: &mut CpuBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_mix",
            shape,
            None,
            &[("z", z.len())],
            &[("v", v.len())],
            &[("pattern", pattern.len())],
        )?;
        let z = &mut z.values_mut()[..operands::query_elements(shape)];
        attention::attention_mix(pattern.values(), v.values(), shape, z);
        Ok(())
    }

    fn attention_mix_backward(
        &self,
        d_z: &CpuBuffer,
        pattern: &CpuBuffer,
        v: &CpuBuffer,
        shape: &AttentionShape,
        d_pattern: &mut CpuBuffer,
        d_v: &mut CpuBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_mix_backward",
            shape,
            None,
            &[("d_z", d_z.len())],
            &[("v", v.len()), ("d_v", d_v.len())],
            &[("pattern", pattern.len()), ("d_pattern", d_pattern.len())],
        )?;
        attention::attention_mix_backward(
            d_z.values(),
            pattern.values(),
            v.values(),
            shape,
            &mut d_pattern.values_mut()[..operands::pattern_elements(shape)],
            &mut d_v.values_mut()[..operands::cache_elements(shape)],
        );
        Ok(())
    }

    fn softmax_backward(&self, y: &CpuBuffer, n: usize, width: usize, d_y: &mut CpuBuffer) -> Result<()> {
        operands::row_buffers(
            "softmax_backward",
            (n, width),
            &[("y", y.len()), ("d_y", d_y.len())],
        )?;
        softmax::softmax_backward(y.values(), width, &mut d_y.values_mut()[..n * width]);
        Ok(())
    }

    fn attention_scores_backward(
        &self,
        d_scores: &CpuBuffer,
        q: &CpuBuffer,
        k: &CpuBuffer,
        shape: &AttentionShape,
        first_key: &[u32],
        d_q: &mut CpuBuffer,
        d_k: &mut CpuBuffer,
    ) -> Result<()> {
        operands::attention(
            "attention_scores_backward",
            shape,
            Some(first_key.len()),
            &[("q", q.len()), ("d_q", d_q.len())],
            &[("k", k.len()), ("d_k", d_k.len())],
            &[("d_scores", d_scores.len())],
        )?;
        attention::attention_scores_backward(
            d_scores.values(),
            q.values(),
            k.values(),
            shape,
            first_key,
            &mut d_q.values_mut()[..operands::query_elements(shape)],
            &mut d_k.values_mut()[..operands::cache_elements(shape)],
        );
        Ok(())
    }

    fn set_rows(
        &self,
        x: &mut CpuBuffer,
        width: usize,
        rows: &[u32],
        values: &CpuBuffer,
        k: usize,
    ) -> Result<()> {
        operands::repeated_rows("set_rows", x.len(), width, rows, values.len(), k)?;
        if !rows.is_empty() {
            edits::set_rows(x.values_mut(), width, rows, &values.values()[..k * width]);
        }
        Ok(())
    }

    fn add_rows(
        &self,
        x: &mut CpuBuffer,
        width: usize,
        rows: &[u32],
        values: &CpuBuffer,
        k: usize,
    ) -> Result<()> {
        operands::repeated_rows("add_rows", x.len(), width, rows, values.len(), k)?;
        if !rows.is_empty() {
            edits::add_rows(x.values_mut(), width, rows, &values.values()[..k * width]);
        }
        Ok(())
    }

    fn scale_rows(&self, x: &mut CpuBuffer, width: usize, rows: &[u32], factor: f32) -> Result<()> {
        if !rows.is_empty() {
            operands::rows("scale_rows", "rows", rows, x.len(), width)?;
        }
        edits::scale_rows(x.values_mut(), width, rows, factor);
        Ok(())
    }

    fn feature_delta(
        &self,
        x: &mut CpuBuffer,
        width: usize,
        features: &FeatureRows<'_, CpuBuffer>,
        deltas: &[FeatureDelta],
    ) -> Result<()> {
        let edited = [("x", x.len())];
        operands::feature_deltas("feature_delta", &edited, width, feature_sizes(features), deltas)?;
        edits::feature_delta(x.values_mut(), width, feature_values(features), deltas);
        Ok(())
    }

    fn feature_delta_backward(
        &self,
        x: &CpuBuffer,
        d: &mut CpuBuffer,
        width: usize,
        features: &FeatureRows<'_, CpuBuffer>,
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
        edits::feature_delta_backward(
            x.values(),
            d.values_mut(),
            width,
            feature_values(features),
            deltas,
        );
        Ok(())
    }

    fn threshold(&self, x: &mut CpuBuffer, n: usize, width: usize, threshold: &CpuBuffer) -> Result<()> {
        operands::norm(
            "threshold",
            (n, width),
            &[("x", x.len())],
            &[],
            &[("threshold", Some(threshold.len()))],
        )?;
        selection::threshold(&mut x.values_mut()[..n * width], width, threshold.values());
        Ok(())
    }

    fn keep_top_k(&self, x: &mut CpuBuffer, n: usize, width: usize, k: usize) -> Result<()> {
        operands::row_buffers("keep_top_k", (n, width), &[("x", x.len())])?;
        selection::keep_top_k(&mut x.values_mut()[..n * width], width, k);
        Ok(())
    }

    fn top_entries(&self, x: &CpuBuffer, n: usize, width: usize, k: usize) -> Result<Vec<TopEntries>> {
        operands::row_buffers("top_entries", (n, width), &[("x", x.len())])?;
        Ok(selection::top_entries(x.values(), n, width, k))
    }

    fn vocabulary_statistics(
        &self,
        logits: &CpuBuffer,
        n: usize,
        width: usize,
    ) -> Result<Vec<VocabularyStatistics>> {
        operands::row_buffers("vocabulary_statistics", (n, width), &[("logits", logits.len())])?;
        Ok(selection::vocabulary_statistics(logits.values(), n, width))
    }

    fn first_non_finite(&self, x: &CpuBuffer, n: usize, width: usize) -> Result<Option<(usize, usize)>> {
        operands::row_buffers("first_non_finite", (n, width), &[("x", x.len())])?;
        Ok(selection::first_non_finite(&x.values()[..n * width]).map(|i| (i / width, i % width)))
    }
}
