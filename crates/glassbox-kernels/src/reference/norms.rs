//! Normalisation of rows.

use crate::backend::NormKind;

/// c: the row itself, or the row less its mean.
fn centred(kind: NormKind, row: &[f64]) -> Vec<f64> {
    let mean = match kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => row.iter().sum::<f64>() / row.len() as f64,
    };
    row.iter().map(|x| x - mean).collect()
}

/// sqrt(mean(c²) + eps) of each row.
pub(crate) fn norm_scale(kind: NormKind, x: &[f64], width: usize, eps: f64) -> Vec<f64> {
    x.chunks(width)
        .map(|row| {
            let squares: f64 = centred(kind, row).iter().map(|c| c * c).sum();
            (squares / width as f64 + eps).sqrt()
        })
        .collect()
}

/// (c / scale) · weight + bias.
pub(crate) fn norm_apply(
    kind: NormKind,
    x: &[f64],
    scale: &[f64],
    width: usize,
    weight: Option<&[f64]>,
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for (row, scale) in x.chunks(width).zip(scale) {
        for (j, c) in centred(kind, row).into_iter().enumerate() {
            y.push(c / scale * weight.map_or(1.0, |weight| weight[j]) + bias.map_or(0.0, |bias| bias[j]));
        }
    }
    y
}

/// Gradients with respect to x (scale held constant) and with respect to the scale.
pub(crate) fn norm_apply_backward(
    kind: NormKind,
    x: &[f64],
    scale: &[f64],
    d_y: &[f64],
    width: usize,
    weight: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    let (mut d_x, mut d_scale) = (Vec::new(), Vec::new());
    for ((row, &scale), d_y) in x.chunks(width).zip(scale).zip(d_y.chunks(width)) {
        let g: Vec<f64> = d_y
            .iter()
            .enumerate()
            .map(|(j, d)| d * weight.map_or(1.0, |weight| weight[j]))
            .collect();
        let d_c: Vec<f64> = g.iter().map(|g| g / scale).collect();
        // Subtracting the mean is its own transpose.
        d_x.extend(centred(kind, &d_c));
        d_scale.push(
            centred(kind, row)
                .iter()
                .zip(&g)
                .map(|(c, g)| -g * c / (scale * scale))
                .sum(),
        );
    }
    (d_x, d_scale)
}

/// d_scale · c / (width · scale).
pub(crate) fn norm_scale_backward(
    kind: NormKind,
    x: &[f64],
    scale: &[f64],
    d_scale: &[f64],
    width: usize,
) -> Vec<f64> {
    let mut d_x = Vec::with_capacity(x.len());
    for ((row, scale), d_scale) in x.chunks(width).zip(scale).zip(d_scale) {
        d_x.extend(
            centred(kind, row)
                .into_iter()
                .map(|c| d_scale * c / (width as f64 * scale)),
        );
    }
    d_x
}
