//! RMSNorm (Zhang and Sennrich 2019), forward and backward.

/// `y = x / rms(x) * weight` for rows of `x` [n, d]; `inverse_rms` [n] is kept for the backward pass.
pub fn forward(y: &mut [f32], inverse_rms: &mut [f32], x: &[f32], weight: &[f32], eps: f64) {
    let d = weight.len();
    for ((x, y), inverse) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(inverse_rms) {
        let mean_square = x.iter().map(|&v| v * v).sum::<f32>() / d as f32;
        *inverse = 1.0 / (mean_square + eps as f32).sqrt();
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * *inverse * w;
        }
    }
}

/// Adds the gradient of [`forward`] to `dx` and `dweight`.
pub fn backward(
    dx: &mut [f32],
    dweight: &mut [f32],
    dy: &[f32],
    x: &[f32],
    inverse_rms: &[f32],
    weight: &[f32],
) {
    let d = weight.len();
    for (((dx, dy), x), &inverse) in dx
        .chunks_exact_mut(d)
        .zip(dy.chunks_exact(d))
        .zip(x.chunks_exact(d))
        .zip(inverse_rms)
    {
        let mut along = 0.0;
        for ((&dy, &x), (dw, &w)) in dy.iter().zip(x).zip(dweight.iter_mut().zip(weight)) {
            *dw += dy * x * inverse;
            along += dy * w * x;
        }
        let back = along * inverse * inverse * inverse / d as f32;
        for ((dx, &dy), (&x, &w)) in dx.iter_mut().zip(dy).zip(x.iter().zip(weight)) {
            *dx += dy * w * inverse - x * back;
        }
    }
}
