//! Checks of the operands of every operation, shared by all backends: after them, no element outside a buffer
//! is addressed and no count is zero that is divided by.

use crate::backend::{AttentionShape, FeatureDelta, Result, SharedKeys, StoredType, StoredValues};
use crate::error::KernelError;
use crate::training::AdamStep;

/// Product of extents; stops at `usize::MAX`, which no buffer reaches.
pub(crate) fn product(extents: &[usize]) -> usize {
    extents
        .iter()
        .fold(1, |product, &extent| product.saturating_mul(extent))
}

/// Each of `(name, elements found, elements needed)`.
pub(crate) fn sizes(op: &'static str, operands: &[(&'static str, usize, usize)]) -> Result<()> {
    operands
        .iter()
        .try_for_each(|&(operand, found, needed)| KernelError::check(op, operand, found, needed))
}

/// A parameter that must not be zero.
pub(crate) fn not_zero(op: &'static str, name: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(KernelError::Parameter {
            op,
            what: format!("{name} is 0, it must be at least 1"),
        });
    }
    Ok(())
}

/// A parameter that must be above zero.
pub(crate) fn positive(op: &'static str, name: &str, value: f32) -> Result<()> {
    if value > 0.0 {
        return Ok(());
    }
    Err(KernelError::Parameter {
        op,
        what: format!("{name} is {value}, it must be above 0"),
    })
}

/// Rows (n, width, features) for an encoder: `lengths` of x, of the encoder and of its bias.
pub(crate) fn encoder(
    op: &'static str,
    (n, width, features): (usize, usize, usize),
    (x, encoder, bias): (usize, usize, usize),
) -> Result<()> {
    not_zero(op, "width", width)?;
    not_zero(op, "features", features)?;
    if u32::try_from(n).is_err() || u32::try_from(features).is_err() {
        return Err(KernelError::Parameter {
            op,
            what: format!("{n} rows of {features} features; both must be below 2^32"),
        });
    }
    sizes(
        op,
        &[
            ("x", x, product(&[n, width])),
            ("encoder", encoder, product(&[features, width])),
            ("bias", bias, features),
        ],
    )
}

/// Ends of nested prefixes of the features.
pub(crate) fn prefixes(op: &'static str, ends: &[u32], features: usize) -> Result<()> {
    let rises = ends.windows(2).all(|pair| pair[0] < pair[1]);
    if rises && ends.first() != Some(&0) && ends.last().map(|&end| end as usize) == Some(features) {
        return Ok(());
    }
    Err(KernelError::Parameter {
        op,
        what: format!("prefixes end at {ends:?}; expected rising numbers above 0 up to {features}"),
    })
}

/// A step of Adam.
pub(crate) fn adam(op: &'static str, step: &AdamStep) -> Result<()> {
    let decays = 0.0..1.0;
    let valid = step.step > 0
        && decays.contains(&step.beta1)
        && decays.contains(&step.beta2)
        && step.epsilon >= 0.0
        && step.learning_rate.is_finite();
    if valid {
        return Ok(());
    }
    Err(KernelError::Parameter {
        op,
        what: format!("{step:?}; steps count from 1, betas lie in [0, 1), epsilon is at least 0"),
    })
}

/// All indices below `limit`.
pub(crate) fn indices(op: &'static str, operand: &'static str, found: &[u32], limit: usize) -> Result<()> {
    match found.iter().find(|&&index| index as usize >= limit) {
        Some(&index) => Err(KernelError::Index {
            op,
            operand,
            index: index as usize,
            limit,
        }),
        None => Ok(()),
    }
}

/// Row indices into a buffer of `len` elements with rows of `width`.
pub(crate) fn rows(
    op: &'static str,
    operand: &'static str,
    rows: &[u32],
    len: usize,
    width: usize,
) -> Result<()> {
    not_zero(op, "width", width)?;
    indices(op, operand, rows, len / width)
}

/// A range of elements from `at` on.
pub(crate) fn range(
    op: &'static str,
    operand: &'static str,
    found: usize,
    at: usize,
    count: usize,
) -> Result<()> {
    KernelError::check(op, operand, found, at.saturating_add(count))
}

/// The bytes of a stored matrix: exactly as many as its shape needs.
pub(crate) fn stored(op: &'static str, values: StoredValues<'_>, rows: usize, columns: usize) -> Result<()> {
    let (bytes, size) = match values {
        StoredValues::F32(bytes) => (bytes.len(), 4),
        StoredValues::Bf16(bytes) | StoredValues::F16(bytes) => (bytes.len(), 2),
    };
    let needed = product(&[rows, columns]);
    KernelError::check(op, "values", bytes / size, needed)?;
    if bytes != needed * size {
        return Err(KernelError::Parameter {
            op,
            what: format!(
                "values hold {bytes} bytes, a matrix [{rows}, {columns}] of {size}-byte numbers has {}",
                needed * size
            ),
        });
    }
    Ok(())
}

/// The bytes of a matrix inside a file.
pub(crate) fn mapped<'a>(
    op: &'static str,
    file: &'a [u8],
    at: usize,
    element: StoredType,
    rows: usize,
    columns: usize,
) -> Result<&'a [u8]> {
    let end = at.saturating_add(product(&[rows, columns, element.bytes()]));
    KernelError::check(op, "file", file.len(), end)?;
    Ok(&file[at..end])
}

/// `values [k, width]` repeated over `rows` of `x`.
pub(crate) fn repeated_rows(
    op: &'static str,
    x: usize,
    width: usize,
    edited: &[u32],
    values: usize,
    k: usize,
) -> Result<()> {
    if edited.is_empty() {
        return Ok(());
    }
    not_zero(op, "k", k)?;
    rows(op, "rows", edited, x, width)?;
    KernelError::check(op, "values", values, product(&[k, width]))
}

/// The table and position operands of the rotary embedding.
pub(crate) fn rotary(
    x: usize,
    (n, heads, head_dim): (usize, usize, usize),
    (cos, sin, half_rotary): (usize, usize, usize),
    positions: &[u32],
) -> Result<()> {
    const OP: &str = "rotary";
    if half_rotary.saturating_mul(2) > head_dim {
        return Err(KernelError::Parameter {
            op: OP,
            what: format!(
                "2 · half_rotary = {} exceeds head_dim {head_dim}",
                half_rotary.saturating_mul(2)
            ),
        });
    }
    sizes(
        OP,
        &[
            ("x", x, product(&[n, heads, head_dim])),
            ("positions", positions.len(), n),
        ],
    )?;
    if n == 0 || half_rotary == 0 {
        return Ok(());
    }
    indices(OP, "positions", &positions[..n], cos.min(sin) / half_rotary)
}

/// The shape of an attention call by itself.
pub(crate) fn attention_shape(op: &'static str, shape: &AttentionShape) -> Result<()> {
    not_zero(op, "heads", shape.heads)?;
    not_zero(op, "kv_heads", shape.kv_heads)?;
    not_zero(op, "head_dim", shape.head_dim)?;
    let refuse = |what: String| Err(KernelError::Parameter { op, what });
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        return refuse(format!(
            "heads {} is not a multiple of kv_heads {}",
            shape.heads, shape.kv_heads
        ));
    }
    if shape.keys > shape.capacity {
        return refuse(format!(
            "keys {} exceeds the capacity {}",
            shape.keys, shape.capacity
        ));
    }
    if shape.first_query.saturating_add(shape.queries) > shape.keys {
        return refuse(format!(
            "queries {} from slot {} on end beyond the {} filled slots",
            shape.queries, shape.first_query, shape.keys
        ));
    }
    if shape.window == Some(0) {
        return refuse("window is 0, it counts the query's own slot and must be at least 1".to_owned());
    }
    Ok(())
}

/// Elements of [batch, queries, heads, head_dim].
pub(crate) fn query_elements(shape: &AttentionShape) -> usize {
    product(&[shape.batch, shape.queries, shape.heads, shape.head_dim])
}

/// Elements of [batch, capacity, kv_heads, head_dim].
pub(crate) fn cache_elements(shape: &AttentionShape) -> usize {
    product(&[shape.batch, shape.capacity, shape.kv_heads, shape.head_dim])
}

/// Elements of [batch, heads, queries, keys].
pub(crate) fn pattern_elements(shape: &AttentionShape) -> usize {
    product(&[shape.batch, shape.heads, shape.queries, shape.keys])
}

/// A selection of cache rows.
pub(crate) fn cache_select(
    src: usize,
    (src_capacity, dst_capacity): (usize, usize),
    width: usize,
    filled: usize,
    selected: &[u32],
    dst: usize,
) -> Result<()> {
    const OP: &str = "cache_select";
    for (name, capacity) in [("src_capacity", src_capacity), ("dst_capacity", dst_capacity)] {
        if filled > capacity {
            return Err(KernelError::Parameter {
                op: OP,
                what: format!("filled {filled} exceeds {name} {capacity}"),
            });
        }
    }
    KernelError::check(OP, "dst", dst, product(&[selected.len(), dst_capacity, width]))?;
    if filled == 0 || width == 0 || selected.is_empty() {
        return Ok(());
    }
    indices(OP, "rows", selected, src / product(&[src_capacity, width]))
}

/// Sizes of the buffers and slices behind feature deltas.
#[derive(Clone, Copy)]
pub(crate) struct FeatureSizes {
    pub encoder: usize,
    pub decoder: usize,
    pub bias: usize,
    pub threshold: usize,
}

/// Feature deltas on rows of `width`.
pub(crate) fn feature_deltas(
    op: &'static str,
    edited: &[(&'static str, usize)],
    width: usize,
    features: FeatureSizes,
    deltas: &[FeatureDelta],
) -> Result<()> {
    if deltas.is_empty() {
        return Ok(());
    }
    not_zero(op, "width", width)?;
    let available = [
        ("features.encoder", features.encoder / width),
        ("features.decoder", features.decoder / width),
        ("features.bias", features.bias),
        ("features.threshold", features.threshold),
    ];
    for delta in deltas {
        let (row, feature) = (delta.row as usize, delta.feature as usize);
        for &(_, len) in edited {
            let limit = len / width;
            if row >= limit {
                return Err(KernelError::Index {
                    op,
                    operand: "deltas.row",
                    index: row,
                    limit,
                });
            }
        }
        for (operand, limit) in available {
            if feature >= limit {
                return Err(KernelError::Index {
                    op,
                    operand,
                    index: feature,
                    limit,
                });
            }
        }
    }
    Ok(())
}

/// `src` and `dst` of a copy of whole rows into place `i` of `dst`.
pub(crate) fn gather(op: &'static str, src: usize, width: usize, gathered: &[u32], dst: usize) -> Result<()> {
    if gathered.is_empty() {
        return Ok(());
    }
    rows(op, "rows", gathered, src, width)?;
    KernelError::check(op, "dst", dst, product(&[gathered.len(), width]))
}

/// `src` and `dst` of a copy of row `i` of `src` into chosen places of `dst`.
pub(crate) fn scatter(src: usize, width: usize, scattered: &[u32], dst: usize) -> Result<()> {
    const OP: &str = "scatter_rows";
    if scattered.is_empty() {
        return Ok(());
    }
    rows(OP, "rows", scattered, dst, width)?;
    KernelError::check(OP, "src", src, product(&[scattered.len(), width]))
}

/// Rows of a matrix into a buffer.
pub(crate) fn matrix_rows(
    op: &'static str,
    operand: &'static str,
    (rows, columns): (usize, usize),
    taken: &[u32],
    dst: usize,
) -> Result<()> {
    indices(op, operand, taken, rows)?;
    KernelError::check(op, "dst", dst, product(&[taken.len(), columns]))
}

/// Operands of `linear`.
pub(crate) fn linear(
    x: usize,
    n: usize,
    (rows, columns): (usize, usize),
    bias: Option<usize>,
    y: usize,
) -> Result<()> {
    sizes(
        "linear",
        &[
            ("x", x, product(&[n, columns])),
            ("bias", bias.unwrap_or(rows), rows),
            ("y", y, product(&[n, rows])),
        ],
    )
}

/// Operands of `linear_backward`.
pub(crate) fn linear_backward(
    d_y: usize,
    n: usize,
    (rows, columns): (usize, usize),
    d_x: usize,
) -> Result<()> {
    sizes(
        "linear_backward",
        &[
            ("d_y", d_y, product(&[n, rows])),
            ("d_x", d_x, product(&[n, columns])),
        ],
    )
}

/// Operands that all have the shape [n, width], where width is divided by.
pub(crate) fn row_buffers(
    op: &'static str,
    (n, width): (usize, usize),
    operands: &[(&'static str, usize)],
) -> Result<()> {
    not_zero(op, "width", width)?;
    operands
        .iter()
        .try_for_each(|&(operand, found)| KernelError::check(op, operand, found, product(&[n, width])))
}

/// Operands of the normalisations: some [n, width], some [n], some [width].
pub(crate) fn norm(
    op: &'static str,
    (n, width): (usize, usize),
    of_rows: &[(&'static str, usize)],
    per_row: &[(&'static str, usize)],
    per_column: &[(&'static str, Option<usize>)],
) -> Result<()> {
    row_buffers(op, (n, width), of_rows)?;
    per_row
        .iter()
        .try_for_each(|&(operand, found)| KernelError::check(op, operand, found, n))?;
    per_column
        .iter()
        .try_for_each(|&(operand, found)| KernelError::check(op, operand, found.unwrap_or(width), width))
}

/// Operands of the attention operations: some as queries, some as the cache, some as the pattern.
pub(crate) fn attention(
    op: &'static str,
    shape: &AttentionShape,
    first_key: Option<usize>,
    as_queries: &[(&'static str, usize)],
    as_cache: &[(&'static str, usize)],
    as_pattern: &[(&'static str, usize)],
) -> Result<()> {
    attention_shape(op, shape)?;
    KernelError::check(op, "first_key", first_key.unwrap_or(shape.batch), shape.batch)?;
    for (operands, needed) in [
        (as_queries, query_elements(shape)),
        (as_cache, cache_elements(shape)),
        (as_pattern, pattern_elements(shape)),
    ] {
        operands
            .iter()
            .try_for_each(|&(operand, found)| KernelError::check(op, operand, found, needed))?;
    }
    Ok(())
}

/// The shared keys and values of `attention_after_shared`.
pub(crate) fn shared_keys<Buffer>(
    shape: &AttentionShape,
    shared: &SharedKeys<'_, Buffer>,
    key: usize,
    value: usize,
) -> Result<()> {
    const OP: &str = "attention_after_shared";
    let refuse = |what: String| Err(KernelError::Parameter { op: OP, what });
    KernelError::check(OP, "shared.prompt", shared.prompt.len(), shape.batch)?;
    let prompts = shared.first.len();
    if let Some(prompt) = shared.prompt.iter().find(|&&prompt| prompt as usize >= prompts) {
        return refuse(format!(
            "a row continues prompt {prompt}, there are {prompts} prompts"
        ));
    }
    if shared.end > shared.capacity {
        return refuse(format!(
            "the shared slots end at {}, beyond the capacity {}",
            shared.end, shared.capacity
        ));
    }
    let needed = prompts * shared.capacity * shape.kv_heads * shape.head_dim;
    KernelError::check(OP, "shared.key", key, needed)?;
    KernelError::check(OP, "shared.value", value, needed)
}

/// Operands of `cache_write`.
pub(crate) fn cache_write(new: usize, shape: &AttentionShape, cache: usize) -> Result<()> {
    const OP: &str = "cache_write";
    attention_shape(OP, shape)?;
    let needed = product(&[shape.batch, shape.queries, shape.kv_heads, shape.head_dim]);
    sizes(
        OP,
        &[("new", new, needed), ("cache", cache, cache_elements(shape))],
    )
}
