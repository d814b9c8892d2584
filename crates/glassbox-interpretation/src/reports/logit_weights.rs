//! Which tokens a feature promotes and suppresses, through the direct path to the logits.

use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use glassbox_kernels::backend::NormKind;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use rayon::prelude::*;

use crate::error::Result;

/// Elements of logits computed at a time, about.
const LOGITS_AT_A_TIME: usize = 1 << 24;

/// Bins of the histogram.
const BINS: usize = 40;

/// A token and the weight with which a feature writes to its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenWeight {
    /// The token.
    pub token: u32,
    /// Its weight.
    pub weight: f32,
}

/// The direct effect of one feature on the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitWeights {
    /// Tokens with the largest weights, largest first; of equals the lower id.
    pub promoted: Vec<TokenWeight>,
    /// Tokens with the smallest, smallest first.
    pub suppressed: Vec<TokenWeight>,
    /// Standard deviation of the weights over the vocabulary.
    pub standard_deviation: f64,
    /// Skewness: large where a feature promotes a few tokens.
    pub skewness: f64,
    /// Excess kurtosis.
    pub kurtosis: f64,
    /// Lower end of the histogram.
    pub histogram_from: f32,
    /// Length of its bins.
    pub histogram_bin: f32,
    /// Tokens by weight.
    pub histogram: Vec<u64>,
}

/// How the directions of a site come to the residual stream.
enum Path {
    /// They are written there.
    Residual,
    /// By the output map of a block's attention.
    AttentionOut(usize),
    /// By the output map of a block's MLP.
    MlpDown(usize),
}

fn path(site: Site) -> Option<Path> {
    match site {
        Site::Embed
        | Site::PosEmbed
        | Site::ResidPre(_)
        | Site::ResidMid(_)
        | Site::ResidPost(_)
        | Site::AttentionOut(_)
        | Site::MlpOut(_) => Some(Path::Residual),
        Site::Mixed(block) => Some(Path::AttentionOut(block as usize)),
        Site::MlpPost(block) => Some(Path::MlpDown(block as usize)),
        _ => None,
    }
}

/// Logit weights of these features, `None` where nothing leads straight from the site to the residual stream.
///
/// With d the feature's decoder row (brought to the residual stream by the attention's or MLP's output map where it lies before
/// one) and w the weight of the final norm: weights = (d ⊙ w) · W_Uᵀ, minus their mean over the vocabulary. A layer norm takes the mean
/// of d away first. The scale of the final norm is left out, since it depends on the token: weights of one feature compare
/// with each other, not with logits.
///
/// # Errors
/// [`crate::InterpretationError::Kernel`] and [`crate::InterpretationError::Dictionary`].
pub fn logit_weights<B: Backend>(
    model: &Model<B>,
    dictionary: &Dictionary<B>,
    features: &[u32],
    tokens: usize,
    mut each: impl FnMut(u32, LogitWeights),
) -> Result<bool> {
    let Some(path) = path(dictionary.description().output_site) else {
        return Ok(false);
    };
    let (backend, config) = (model.backend(), model.config());
    let (width, vocab) = (config.d_model, config.vocab_size);
    let mut weight = vec![0.0; width];
    backend.read(&model.weights().ln_final.weight, 0, &mut weight)?;
    let at_a_time = (LOGITS_AT_A_TIME / vocab).clamp(1, 256);
    let mut logits = vec![0.0; at_a_time * vocab];
    for features in features.chunks(at_a_time) {
        let n = features.len();
        let decoder = dictionary.decoder_rows(features)?;
        let mut directions = vec![0.0; n * width];
        match path {
            Path::Residual => backend.read(&decoder, 0, &mut directions)?,
            Path::AttentionOut(block) | Path::MlpDown(block) => {
                let block = &model.weights().blocks[block];
                let matrix = match path {
                    Path::MlpDown(_) => &block.down.weight,
                    _ => &block.out.weight,
                };
                let mut written = backend.zeros(n * width);
                backend.linear(&decoder, n, matrix, None, &mut written)?;
                backend.read(&written, 0, &mut directions)?;
            }
        }
        for direction in directions.chunks_exact_mut(width) {
            if config.norm == NormKind::Layer {
                let mean = direction.iter().sum::<f32>() / width as f32;
                direction.iter_mut().for_each(|value| *value -= mean);
            }
            direction
                .iter_mut()
                .zip(&weight)
                .for_each(|(value, weight)| *value *= weight);
        }
        let mut on_device = backend.zeros(n * vocab);
        backend.linear(
            &backend.upload(&directions),
            n,
            model.unembed(),
            None,
            &mut on_device,
        )?;
        backend.read(&on_device, 0, &mut logits[..n * vocab])?;
        let found: Vec<LogitWeights> = logits[..n * vocab]
            .par_chunks_mut(vocab)
            .map(|row| describe(row, tokens))
            .collect();
        features
            .iter()
            .zip(found)
            .for_each(|(feature, found)| each(*feature, found));
    }
    Ok(true)
}

fn describe(row: &mut [f32], tokens: usize) -> LogitWeights {
    let n = row.len() as f64;
    let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
    row.iter_mut()
        .for_each(|value| *value = (f64::from(*value) - mean) as f32);
    let moment = |power: i32| row.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / n;
    let variance = moment(2);
    let standard = |value: f64| if variance > 0.0 { value } else { 0.0 };
    let (low, high) = row
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    let bin = (high - low) / BINS as f32;
    let mut histogram = vec![0; BINS];
    for value in row.iter() {
        let place = if bin > 0.0 {
            ((value - low) / bin) as usize
        } else {
            0
        };
        histogram[place.min(BINS - 1)] += 1;
    }
    LogitWeights {
        promoted: extreme(row, tokens, |value| -value),
        suppressed: extreme(row, tokens, |value| value),
        standard_deviation: variance.sqrt(),
        skewness: standard(moment(3) / variance.powf(1.5)),
        kurtosis: standard(moment(4) / (variance * variance) - 3.0),
        histogram_from: low,
        histogram_bin: bin,
        histogram,
    }
}

/// The tokens with the smallest keys, in order; of equals the lower id.
fn extreme(row: &[f32], count: usize, key: impl Fn(f32) -> f32) -> Vec<TokenWeight> {
    let mut tokens: Vec<u32> = (0..row.len() as u32).collect();
    let count = count.min(tokens.len());
    let order = |one: &u32, other: &u32| {
        key(row[*one as usize])
            .total_cmp(&key(row[*other as usize]))
            .then(one.cmp(other))
    };
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count, order);
        tokens.truncate(count);
    }
    tokens.sort_by(order);
    tokens
        .into_iter()
        .map(|token| TokenWeight {
            token,
            weight: row[token as usize],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_centred_and_ordered() {
        let mut row = [1.0, 5.0, 3.0, 3.0, -2.0, 2.0];
        let found = describe(&mut row, 2);
        let tokens = |list: &[TokenWeight]| list.iter().map(|t| t.token).collect::<Vec<_>>();
        assert_eq!(tokens(&found.promoted), [1, 2]);
        assert_eq!(tokens(&found.suppressed), [4, 0]);
        assert_eq!(found.promoted[0].weight, 3.0);
        assert_eq!(found.histogram.iter().sum::<u64>(), 6);
        assert_eq!(describe(&mut [2.0; 4], 9).kurtosis, 0.0);
    }
}
