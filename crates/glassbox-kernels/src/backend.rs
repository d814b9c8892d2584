//! The contract between the engine and the hardware.
//!
//! A [`Backend`] owns buffers of f32 and frozen weight matrices, and offers coarse operations on them. The
//! trait makes no assumption that memory is the host's: data goes in by `upload`/`write` and comes back by
//! `read`, work may be queued in between.
//!
//! Conventions for every operation:
//! - All arrays are row-major and dense. `n` counts rows of the first axis; a buffer may be longer than its
//!   shape needs (buffers are reused), only the leading elements are touched.
//! - An operation writes its output completely unless its name says `add`/`accumulate`, or it is told to.
//! - Reductions run in a fixed order that depends on the shape only, never on the number of threads, so equal
//!   inputs give equal bits.
//! - Backward operations take the gradient of a scalar with respect to the output (`d_y`) and give it with
//!   respect to the inputs (`d_x`). Weights are frozen: no weight gradient is computed here, except through
//!   [`Backend::matmul`], which dictionary training uses.
//! - NaN and infinities pass through as IEEE 754 says. The engine checks for them where they would matter.

use std::sync::Arc;

use crate::error::KernelError;
use crate::mapped_file::MappedFile;
use crate::matmul::Layout;
use crate::operands;

/// Result of an operation.
pub type Result<T> = std::result::Result<T, KernelError>;

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// x / sqrt(mean(x²) + eps), times a weight (Zhang & Sennrich 2019).
    Rms,
    /// (x − mean(x)) / sqrt(var(x) + eps), variance with denominator d, times a weight, plus a bias (Ba et al. 2016).
    Layer,
}

/// Pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationKind {
    /// x · sigmoid(x).
    Silu,
    /// x · Φ(x), Φ the normal distribution function (exact form, by erf).
    Gelu,
    /// The tanh approximation of GELU that GPT-2 uses (`gelu_new`).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// Bytes of a weight matrix as a checkpoint stores them (little endian).
#[derive(Clone, Copy, Debug)]
pub enum StoredValues<'a> {
    /// IEEE single precision.
    F32(&'a [u8]),
    /// bfloat16.
    Bf16(&'a [u8]),
    /// IEEE half precision.
    F16(&'a [u8]),
}

/// The type in which weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// IEEE single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl StoredType {
    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// These bytes, as numbers of this type.
    #[must_use]
    pub fn values(self, bytes: &[u8]) -> StoredValues<'_> {
        match self {
            Self::F32 => StoredValues::F32(bytes),
            Self::Bf16 => StoredValues::Bf16(bytes),
            Self::F16 => StoredValues::F16(bytes),
        }
    }
}

impl<'a> StoredValues<'a> {
    /// The type of the numbers.
    #[must_use]
    pub fn element(&self) -> StoredType {
        match self {
            Self::F32(_) => StoredType::F32,
            Self::Bf16(_) => StoredType::Bf16,
            Self::F16(_) => StoredType::F16,
        }
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match *self {
            Self::F32(bytes) | Self::Bf16(bytes) | Self::F16(bytes) => bytes,
        }
    }
}

/// Shape of one attention call.
///
/// Queries are `batch` × `queries` rows; keys and values lie in a cache of `capacity` slots per batch row, of
/// which the first `keys` are filled. Query t of any batch row stands at slot `first_query + t` and sees the
/// slots j with `first_key[b] <= j <= first_query + t`, and with a window w also j > first_query + t − w.
/// A query that sees no slot (it is padding) gets a zero output and a zero pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Rows of the batch.
    pub batch: usize,
    /// Queries per batch row.
    pub queries: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`. Query head h reads key/value head h / (heads / kv_heads).
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Filled slots, the queries' own included.
    pub keys: usize,
    /// Slots per batch row in the key and value buffers.
    pub capacity: usize,
    /// Slot of the first query: `keys − queries` in a causal pass.
    pub first_query: usize,
    /// Sliding window, counted in slots, the query's own included.
    pub window: Option<usize>,
    /// Factor on q·k, usually 1/sqrt(head_dim).
    pub scale: f32,
}

/// Keys and values that many batch rows see before their own: those of a prompt that was computed once.
#[derive(Debug)]
pub struct SharedKeys<'a, Buffer> {
    /// [prompts, capacity, kv_heads, head_dim].
    pub key: &'a Buffer,
    /// As `key`.
    pub value: &'a Buffer,
    /// Slots per prompt in the two buffers.
    pub capacity: usize,
    /// Prompt of each batch row [batch].
    pub prompt: &'a [u32],
    /// First slot of each prompt that is seen [prompts]; what lies before is padding.
    pub first: &'a [u32],
    /// One more than the last slot that is seen, of every prompt.
    pub end: usize,
}

/// One thresholded feature set to a value by delta: x += (value − f(x)) · decoder, on one row of x.
///
/// f(x) = z if z > threshold else 0, z = x·encoder + bias. Any scaling or centring of x has been folded into
/// `encoder`, `decoder` and `bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDelta {
    /// Row of x to edit.
    pub row: u32,
    /// Row of the `encoder`, `decoder` buffers ([k, width] each) and index of `bias`, `threshold`.
    pub feature: u32,
    /// The value that the feature is set to, in the dictionary's own units.
    pub value: f32,
}

/// The rows of features that [`FeatureDelta`]s refer to, on the device.
#[derive(Debug)]
pub struct FeatureRows<'a, Buffer> {
    /// Encoder rows [k, width].
    pub encoder: &'a Buffer,
    /// Decoder rows [k, width].
    pub decoder: &'a Buffer,
    /// Encoder biases [k].
    pub bias: &'a [f32],
    /// Thresholds [k]: the feature is active where z > threshold. ReLU is threshold 0.
    pub threshold: &'a [f32],
}

/// The largest entries of one row.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TopEntries {
    /// Column indices, by falling value; equal values by rising index.
    pub indices: Vec<u32>,
    /// Their values.
    pub values: Vec<f32>,
}

/// Statistics of one row of logits, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct VocabularyStatistics {
    /// log Σ exp(logit).
    pub log_sum_exp: f32,
    /// Entropy of the softmax.
    pub entropy: f32,
    /// Index of the largest logit; the lowest index among equals.
    pub argmax: u32,
    /// The largest logit.
    pub max: f32,
}

/// Device memory and coarse operations on it. See the module's page for the conventions.
pub trait Backend: Clone + Send + Sync + std::fmt::Debug + 'static {
    /// f32 elements on the device.
    type Buffer: Send + Sync + std::fmt::Debug;
    /// A frozen weight matrix [rows, columns] on the device, in the precision it was stored in or wider.
    type Matrix: Send + Sync + std::fmt::Debug;

    /// A short name for messages and manifests, `cpu` for example.
    fn name(&self) -> &'static str;
    /// What of the processor is used, `x86-64 avx512f` for example; recorded with results, which are equal bit
    /// by bit only among equal instruction sets.
    fn instruction_set(&self) -> String;

    // --- memory -------------------------------------------------------------------------------------------

    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buffer;
    /// A buffer with these elements.
    fn upload(&self, values: &[f32]) -> Self::Buffer;
    /// Elements of the buffer.
    fn len(&self, buffer: &Self::Buffer) -> usize;
    /// Overwrites `values.len()` elements from element `at` on.
    fn write(&self, buffer: &mut Self::Buffer, at: usize, values: &[f32]) -> Result<()>;
    /// Reads `values.len()` elements from element `at` on, after all work queued so far.
    fn read(&self, buffer: &Self::Buffer, at: usize, values: &mut [f32]) -> Result<()>;
    /// A weight matrix [rows, columns] from a checkpoint's bytes.
    fn matrix(&self, values: StoredValues<'_>, rows: usize, columns: usize) -> Result<Self::Matrix>;
    /// A weight matrix [rows, columns] from the bytes of a mapped file, from byte `at` on. A backend on the host may
    /// keep the file and use the bytes where they are; the others copy them.
    fn matrix_mapped(
        &self,
        file: &Arc<MappedFile>,
        at: usize,
        element: StoredType,
        rows: usize,
        columns: usize,
    ) -> Result<Self::Matrix> {
        let bytes = operands::mapped("matrix_mapped", file.as_bytes(), at, element, rows, columns)?;
        self.matrix(element.values(bytes), rows, columns)
    }
    /// A weight matrix [rows, columns] from the transpose [columns, rows] as stored (GPT-2's Conv1D, SAELens's W_enc).
    fn matrix_from_transposed(
        &self,
        values: StoredValues<'_>,
        rows: usize,
        columns: usize,
    ) -> Result<Self::Matrix>;
    /// Rows and columns of a matrix.
    fn matrix_shape(&self, matrix: &Self::Matrix) -> (usize, usize);
    /// Copies rows of a matrix into a buffer, widened: dst [rows.len(), columns].
    fn matrix_rows(&self, matrix: &Self::Matrix, rows: &[u32], dst: &mut Self::Buffer) -> Result<()>;

    // --- moving rows --------------------------------------------------------------------------------------

    /// dst[..n] = src[..n].
    fn copy(&self, src: &Self::Buffer, n: usize, dst: &mut Self::Buffer) -> Result<()>;
    /// dst[..n] = value.
    fn fill(&self, dst: &mut Self::Buffer, n: usize, value: f32) -> Result<()>;
    /// dst[i, ..] = src[rows[i], ..]; both of `width` columns.
    fn gather_rows(
        &self,
        src: &Self::Buffer,
        width: usize,
        rows: &[u32],
        dst: &mut Self::Buffer,
    ) -> Result<()>;
    /// dst[rows[i], ..] = src[i, ..].
    fn scatter_rows(
        &self,
        src: &Self::Buffer,
        width: usize,
        rows: &[u32],
        dst: &mut Self::Buffer,
    ) -> Result<()>;
    /// Writes new keys or values [batch, queries, kv_heads, head_dim] into the slots from `shape.first_query` on
    /// of `cache` [batch, capacity, kv_heads, head_dim].
    fn cache_write(&self, new: &Self::Buffer, shape: &AttentionShape, cache: &mut Self::Buffer)
    -> Result<()>;
    /// Builds a cache [rows.len(), dst_capacity, width] of which row i holds the first `filled` slots of row
    /// `rows[i]` of `src` [_, src_capacity, width]; `width` = kv_heads · head_dim. For forking and compaction.
    fn cache_select(
        &self,
        src: &Self::Buffer,
        src_capacity: usize,
        width: usize,
        filled: usize,
        rows: &[u32],
        dst_capacity: usize,
        dst: &mut Self::Buffer,
    ) -> Result<()>;

    // --- pointwise ----------------------------------------------------------------------------------------

    /// y[..n] += x[..n].
    fn add(&self, x: &Self::Buffer, n: usize, y: &mut Self::Buffer) -> Result<()>;
    /// y[i, ..] *= w for each of n rows, w [width].
    fn multiply_rows(&self, y: &mut Self::Buffer, n: usize, width: usize, w: &Self::Buffer) -> Result<()>;
    /// y = act(x) on n elements.
    fn activation(
        &self,
        kind: ActivationKind,
        x: &Self::Buffer,
        n: usize,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// d_x = act'(x) · d_y on n elements.
    fn activation_backward(
        &self,
        kind: ActivationKind,
        x: &Self::Buffer,
        d_y: &Self::Buffer,
        n: usize,
        d_x: &mut Self::Buffer,
    ) -> Result<()>;
    /// y = act(gate) · up on n elements (SwiGLU and kin).
    fn gated_activation(
        &self,
        kind: ActivationKind,
        gate: &Self::Buffer,
        up: &Self::Buffer,
        n: usize,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of [`Backend::gated_activation`] with respect to `gate` and `up`.
    fn gated_activation_backward(
        &self,
        kind: ActivationKind,
        gate: &Self::Buffer,
        up: &Self::Buffer,
        d_y: &Self::Buffer,
        n: usize,
        d_gate: &mut Self::Buffer,
        d_up: &mut Self::Buffer,
    ) -> Result<()>;

    // --- products -----------------------------------------------------------------------------------------

    /// dst[i, ..] = table[ids[i], ..].
    fn embed(&self, table: &Self::Matrix, ids: &[u32], dst: &mut Self::Buffer) -> Result<()>;
    /// y [n, rows] = x [n, columns] · matrixᵀ + bias, for a matrix [rows, columns] = [out, in]; bias [rows].
    fn linear(
        &self,
        x: &Self::Buffer,
        n: usize,
        matrix: &Self::Matrix,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// d_x [n, columns] = d_y [n, rows] · matrix, added to `d_x` when `accumulate`.
    fn linear_backward(
        &self,
        d_y: &Self::Buffer,
        n: usize,
        matrix: &Self::Matrix,
        accumulate: bool,
        d_x: &mut Self::Buffer,
    ) -> Result<()>;
    /// dst [m, n] = alpha · dst + beta · op(lhs) · op(rhs), between buffers. See [`crate::matmul::matmul`].
    fn matmul(
        &self,
        dst: &mut Self::Buffer,
        m: usize,
        n: usize,
        lhs: &Self::Buffer,
        lhs_layout: Layout,
        rhs: &Self::Buffer,
        rhs_layout: Layout,
        k: usize,
        alpha: f32,
        beta: f32,
    ) -> Result<()>;

    // --- norms --------------------------------------------------------------------------------------------

    /// scale[i] = sqrt(mean(c²) + eps) with c = x for RMS, c = x − mean(x) for layer norm; x [n, width], scale [n].
    fn norm_scale(
        &self,
        kind: NormKind,
        x: &Self::Buffer,
        n: usize,
        width: usize,
        eps: f32,
        scale: &mut Self::Buffer,
    ) -> Result<()>;
    /// y = (c / scale) · weight + bias, c as in [`Backend::norm_scale`]; a missing weight is one, a missing bias zero.
    fn norm_apply(
        &self,
        kind: NormKind,
        x: &Self::Buffer,
        scale: &Self::Buffer,
        n: usize,
        width: usize,
        weight: Option<&Self::Buffer>,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of [`Backend::norm_apply`]: d_x [n, width] with the scale held constant, added to `d_x` when
    /// `accumulate`, and d_scale [n] (overwritten).
    fn norm_apply_backward(
        &self,
        kind: NormKind,
        x: &Self::Buffer,
        scale: &Self::Buffer,
        d_y: &Self::Buffer,
        n: usize,
        width: usize,
        weight: Option<&Self::Buffer>,
        accumulate: bool,
        d_x: &mut Self::Buffer,
        d_scale: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradient of [`Backend::norm_scale`], added to d_x: d_x += d_scale · c / (width · scale), where `scale` is the
    /// one that [`Backend::norm_scale`] gave.
    fn norm_scale_backward(
        &self,
        kind: NormKind,
        x: &Self::Buffer,
        scale: &Self::Buffer,
        d_scale: &Self::Buffer,
        n: usize,
        width: usize,
        d_x: &mut Self::Buffer,
    ) -> Result<()>;

    // --- attention ----------------------------------------------------------------------------------------

    /// Rotary embedding in the half-split convention of Hugging Face, in place on x [n, heads, head_dim]:
    /// with r = rotary columns / 2, (x[j], x[j+r]) turns by the angle of table row `positions[i]`.
    /// `cos`, `sin` [positions, r]. `inverse` turns back, which is the backward operation.
    fn rotary(
        &self,
        x: &mut Self::Buffer,
        n: usize,
        heads: usize,
        head_dim: usize,
        cos: &Self::Buffer,
        sin: &Self::Buffer,
        half_rotary: usize,
        positions: &[u32],
        inverse: bool,
    ) -> Result<()>;
    /// z [batch, queries, heads, head_dim] = softmax(scale · q kᵀ + mask) v, without writing the scores out.
    /// q as z; k, v [batch, capacity, kv_heads, head_dim]; `first_key` [batch].
    fn attention(
        &self,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut Self::Buffer,
    ) -> Result<()>;
    /// As [`Backend::attention`], where each batch row first sees the slots `shared.first[p]..shared.end` of its prompt
    /// p, then its own from `first_key` on. A window counts both.
    fn attention_after_shared(
        &self,
        q: &Self::Buffer,
        shared: &SharedKeys<'_, Self::Buffer>,
        k: &Self::Buffer,
        v: &Self::Buffer,
        shape: &AttentionShape,
        first_key: &[u32],
        z: &mut Self::Buffer,
    ) -> Result<()>;
    /// scores [batch, heads, queries, keys] = scale · q·k, −inf where masked.
    fn attention_scores(
        &self,
        q: &Self::Buffer,
        k: &Self::Buffer,
        shape: &AttentionShape,
        first_key: &[u32],
        scores: &mut Self::Buffer,
    ) -> Result<()>;
    /// Softmax over the last axis of x [n, width] in place; a row of −inf only becomes zeros.
    fn softmax(&self, x: &mut Self::Buffer, n: usize, width: usize) -> Result<()>;
    /// z [batch, queries, heads, head_dim] = pattern [batch, heads, queries, keys] · v.
    fn attention_mix(
        &self,
        pattern: &Self::Buffer,
        v: &Self::Buffer,
        shape: &AttentionShape,
        z: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of [`Backend::attention_mix`]: d_pattern as pattern, d_v as v (both overwritten; slots beyond `keys` get zero).
    fn attention_mix_backward(
        &self,
        d_z: &Self::Buffer,
        pattern: &Self::Buffer,
        v: &Self::Buffer,
        shape: &AttentionShape,
        d_pattern: &mut Self::Buffer,
        d_v: &mut Self::Buffer,
    ) -> Result<()>;
    /// d_x = y · (d_y − Σ d_y·y) row by row, for y = softmax(x); in place on `d_y` [n, width].
    fn softmax_backward(
        &self,
        y: &Self::Buffer,
        n: usize,
        width: usize,
        d_y: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of [`Backend::attention_scores`]: d_q as q, d_k as k (both overwritten). Masked entries of `d_scores` count as zero.
    fn attention_scores_backward(
        &self,
        d_scores: &Self::Buffer,
        q: &Self::Buffer,
        k: &Self::Buffer,
        shape: &AttentionShape,
        first_key: &[u32],
        d_q: &mut Self::Buffer,
        d_k: &mut Self::Buffer,
    ) -> Result<()>;

    // --- edits --------------------------------------------------------------------------------------------

    /// x[rows[i], ..] = values[i mod k, ..]; x [_, width], values [k, width].
    fn set_rows(
        &self,
        x: &mut Self::Buffer,
        width: usize,
        rows: &[u32],
        values: &Self::Buffer,
        k: usize,
    ) -> Result<()>;
    /// x[rows[i], ..] += values[i mod k, ..].
    fn add_rows(
        &self,
        x: &mut Self::Buffer,
        width: usize,
        rows: &[u32],
        values: &Self::Buffer,
        k: usize,
    ) -> Result<()>;
    /// x[rows[i], ..] *= factor. A factor of zero gives zeros, also where x is not finite.
    fn scale_rows(&self, x: &mut Self::Buffer, width: usize, rows: &[u32], factor: f32) -> Result<()>;
    /// Applies feature deltas (each to its own row) in place on x [_, width]. All activations are taken from the
    /// x given, so several deltas on one row add up and their order doesn't matter.
    fn feature_delta(
        &self,
        x: &mut Self::Buffer,
        width: usize,
        features: &FeatureRows<'_, Self::Buffer>,
        deltas: &[FeatureDelta],
    ) -> Result<()>;
    /// Backward of [`Backend::feature_delta`]: in place on the gradient d [_, width], with the x from before the edit:
    /// d −= (decoder·d) · f'(x) · encoder where the feature was active, unchanged elsewhere, all products taken
    /// from the d given.
    fn feature_delta_backward(
        &self,
        x: &Self::Buffer,
        d: &mut Self::Buffer,
        width: usize,
        features: &FeatureRows<'_, Self::Buffer>,
        deltas: &[FeatureDelta],
    ) -> Result<()>;

    // --- selection ----------------------------------------------------------------------------------------

    /// x[i, j] stays where x[i, j] > threshold[j] or where it is NaN, else 0; x [n, width], threshold [width].
    fn threshold(&self, x: &mut Self::Buffer, n: usize, width: usize, threshold: &Self::Buffer)
    -> Result<()>;
    /// Keeps the k largest of each row of x [n, width] and zeroes the rest, then max(·, 0). Of equal values the
    /// lower index stays; NaN counts as the largest and stays NaN.
    fn keep_top_k(&self, x: &mut Self::Buffer, n: usize, width: usize, k: usize) -> Result<()>;
    /// The k largest of each row, read back; min(k, width) entries, NaN first.
    fn top_entries(&self, x: &Self::Buffer, n: usize, width: usize, k: usize) -> Result<Vec<TopEntries>>;
    /// Log-sum-exp, entropy and argmax of each row of logits [n, width], in one pass, read back. NaN counts as the
    /// largest logit and makes the row's statistics NaN; logits of −∞ have probability zero.
    fn vocabulary_statistics(
        &self,
        logits: &Self::Buffer,
        n: usize,
        width: usize,
    ) -> Result<Vec<VocabularyStatistics>>;
    /// Row and column of the first element that is NaN or infinite among n rows of `width`, or `None`.
    fn first_non_finite(&self, x: &Self::Buffer, n: usize, width: usize) -> Result<Option<(usize, usize)>>;
}
