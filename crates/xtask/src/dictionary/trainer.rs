//! A minimal trainer: TopK at first, then BatchTopK, with an auxiliary loss (Gao et al. 2024, section A.2) and
//! restarts for dead features.

use std::time::Instant;

use anyhow::Result;

use crate::dictionary::activations::Place;
use crate::dictionary::adam::Adam;
use crate::dictionary::centring::Centring;
use crate::dictionary::recipe::{DictionaryLogLine, DictionaryRecipe};
use crate::dictionary::selection::Selection;
use crate::dictionary::weights::Dictionary;
use crate::rng::{Draws, Split};

/// Encoder rows start as this share of the decoder rows: small enough that neighbours do not overshoot together,
/// large enough that features shrink to fit rather than grow, since growth lets few winners starve the rest.
const START_SHARE: f32 = 0.2;

/// Gradients of all weights.
struct Gradients {
    encoder: Vec<f32>,
    encoder_bias: Vec<f32>,
    decoder: Vec<f32>,
    decoder_bias: Vec<f32>,
}

/// Trains on rows `x` [n, d_model]; the threshold is set on `development` [m, d_model]. Returns weights for raw
/// activations, rounded to the precision of the file, with unit decoder rows.
///
/// # Errors
/// If a buffer does not fit its product, which would be a fault of this code.
pub fn train_dictionary(
    recipe: &DictionaryRecipe,
    seed: u64,
    layer: usize,
    d: usize,
    (x, places): (&[f32], &[Place]),
    development: &[f32],
    mut report: impl FnMut(&DictionaryLogLine) -> Result<()>,
) -> Result<Dictionary> {
    let features = recipe.expansion * d;
    let mut draws = Draws::new(seed, Split::Shuffle, layer as u64);
    let centring = Centring::of(x, d);
    let mut dictionary = start(&mut draws, features, x, &centring);
    let started = Instant::now();
    let mut optimizers = [features * d, features, features * d, d].map(Adam::new);
    let mut gradients = Gradients {
        encoder: vec![0.0; features * d],
        encoder_bias: vec![0.0; features],
        decoder: vec![0.0; features * d],
        decoder_bias: vec![0.0; d],
    };
    let mut silent = vec![0usize; features];
    let (mut scores, mut rows, mut error) = (Vec::new(), vec![0.0; recipe.batch * d], Vec::new());
    let mut selection = Selection::default();
    let pool: Vec<usize> = places
        .iter()
        .enumerate()
        .flat_map(|(token, place)| std::iter::repeat_n(token, recipe.repeats(*place)))
        .collect();
    let steps_per_epoch = pool.len() / recipe.batch;
    let steps = steps_per_epoch * recipe.epochs;
    for epoch in 0..recipe.epochs {
        let order: Vec<usize> = draws
            .permutation(pool.len())
            .into_iter()
            .map(|index| pool[index])
            .collect();
        let (mut error_sum, mut variance_tokens) = (0.0, 0usize);
        for (index, batch) in order.chunks_exact(recipe.batch).enumerate() {
            for (row, &token) in rows.chunks_exact_mut(d).zip(batch) {
                centring.apply(row, &x[token * d..]);
            }
            dictionary.scores(&mut scores, &rows)?;
            let step = epoch * steps_per_epoch + index;
            // Tokens of large norm would take the whole budget of a batch before the features have settled, and
            // starve most of them; so every token gets the same number first.
            if step * 3 < steps {
                selection.largest_of_each(&scores, features, recipe.active as usize);
            } else {
                selection.largest(&scores, features, (recipe.active * recipe.batch as f64) as usize);
            }
            for buffer in [
                &mut gradients.encoder,
                &mut gradients.encoder_bias,
                &mut gradients.decoder,
                &mut gradients.decoder_bias,
            ] {
                buffer.fill(0.0);
            }
            error.clear();
            for (x, active) in rows.chunks_exact(d).zip(selection.rows()) {
                let start = error.len();
                error.extend(dictionary.decoder_bias.iter().zip(x).map(|(&b, &x)| b - x));
                let error = &mut error[start..];
                for &(feature, activation) in active {
                    let row = &dictionary.decoder[feature as usize * d..(feature as usize + 1) * d];
                    error.iter_mut().zip(row).for_each(|(e, &w)| *e += activation * w);
                }
                error_sum += error.iter().map(|&e| f64::from(e * e)).sum::<f64>();
                gradients
                    .decoder_bias
                    .iter_mut()
                    .zip(&*error)
                    .for_each(|(g, &e)| *g += e);
                accumulate(&mut gradients, &dictionary, x, error, active);
            }
            variance_tokens += recipe.batch;
            for count in &mut silent {
                *count += recipe.batch;
            }
            for &(feature, _) in &selection.active {
                silent[feature as usize] = 0;
            }
            let dead: Vec<u32> = (0..features as u32)
                .filter(|&f| silent[f as usize] > recipe.dead_after)
                .collect();
            if !dead.is_empty() {
                revive(&mut gradients, &dictionary, recipe, &dead, &rows, &scores, &error);
            }
            remove_parallel(&mut gradients.decoder, &dictionary.decoder, d);
            let warm = (step + 1) as f32 / recipe.warm_up as f32;
            let rate = recipe.rate * (3.0 * (1.0 - step as f32 / steps as f32)).min(1.0).min(warm);
            // Gradients are sums over the batch; Adam does not see their common factor.
            let [encoder, encoder_bias, decoder, decoder_bias] = &mut optimizers;
            encoder.update(&mut dictionary.encoder, &gradients.encoder, rate);
            encoder_bias.update(&mut dictionary.encoder_bias, &gradients.encoder_bias, rate);
            decoder.update(&mut dictionary.decoder, &gradients.decoder, rate);
            decoder_bias.update(&mut dictionary.decoder_bias, &gradients.decoder_bias, rate);
            normalize_rows(&mut dictionary.decoder, d);
        }
        let dead: Vec<usize> = (0..features).filter(|&f| silent[f] > recipe.dead_after).collect();
        // Late restarts would have no time to learn.
        if epoch + 2 < recipe.epochs {
            restart(&mut draws, &mut dictionary, &dead, &rows, &error);
            for &feature in &dead {
                silent[feature] = 0;
                let [encoder, encoder_bias, decoder, _] = &mut optimizers;
                encoder.forget(feature * d..(feature + 1) * d);
                encoder_bias.forget(feature..feature + 1);
                decoder.forget(feature * d..(feature + 1) * d);
            }
        }
        let dead = dead.len();
        let error = error_sum / variance_tokens.max(1) as f64;
        // The mean squared norm of the centred and scaled activations is 1.
        let explained_variance = 1.0 - error;
        report(&DictionaryLogLine {
            layer,
            epoch: epoch + 1,
            explained_variance,
            dead,
            seconds: started.elapsed().as_secs_f64().round(),
        })?;
    }
    dictionary.round_to_stored();
    centring.fold_into(&mut dictionary);
    dictionary.threshold = vec![threshold(&dictionary, development, recipe.active)?; features];
    Ok(dictionary)
}

/// Decoder rows from tokens that differ from one another as much as possible: each next token is drawn in proportion
/// to its squared distance from those drawn before (k-means++, Arthur and Vassilvitskii 2007). The encoder is a
/// fraction of its transpose.
fn start(draws: &mut Draws, features: usize, x: &[f32], centring: &Centring) -> Dictionary {
    let d = centring.mean.len();
    let pool = (10 * features).min(x.len() / d);
    let mut tokens = vec![0.0; pool * d];
    for row in tokens.chunks_exact_mut(d) {
        let token = draws.below(x.len() / d) * d;
        centring.apply(row, &x[token..]);
    }
    let mut distances = vec![f64::INFINITY; pool];
    let mut chosen = draws.below(pool);
    let mut decoder = Vec::with_capacity(features * d);
    for _ in 0..features {
        let row = &tokens[chosen * d..(chosen + 1) * d];
        // The noise tells apart rows of equal tokens.
        decoder.extend(row.iter().map(|&v| v + 0.002 * draws.normal() as f32));
        for (distance, other) in distances.iter_mut().zip(tokens.chunks_exact(d)) {
            let apart: f32 = row.iter().zip(other).map(|(&a, &b)| (a - b) * (a - b)).sum();
            *distance = distance.min(f64::from(apart));
        }
        chosen = draws.weighted(&distances);
    }
    normalize_rows(&mut decoder, d);
    let encoder: Vec<f32> = decoder.iter().map(|&w| START_SHARE * w).collect();
    let (encoder_bias, decoder_bias) = (vec![0.0; features], vec![0.0; d]);
    Dictionary {
        d_model: d,
        features,
        encoder,
        encoder_bias,
        decoder,
        decoder_bias,
        threshold: vec![0.0; features],
    }
}

/// Adds the gradients of half the squared error of one token.
fn accumulate(
    gradients: &mut Gradients,
    dictionary: &Dictionary,
    x: &[f32],
    error: &[f32],
    active: &[(u32, f32)],
) {
    let d = dictionary.d_model;
    for &(feature, activation) in active {
        let place = feature as usize * d..(feature as usize + 1) * d;
        let mut back = 0.0;
        for ((g, &w), &e) in gradients.decoder[place.clone()]
            .iter_mut()
            .zip(&dictionary.decoder[place.clone()])
            .zip(error)
        {
            *g += activation * e;
            back += w * e;
        }
        gradients.encoder[place]
            .iter_mut()
            .zip(x)
            .for_each(|(g, &x)| *g += back * x);
        gradients.encoder_bias[feature as usize] += back;
    }
}

/// The auxiliary loss: dead features with the largest scores learn to stand for what is still unexplained.
fn revive(
    gradients: &mut Gradients,
    dictionary: &Dictionary,
    recipe: &DictionaryRecipe,
    dead: &[u32],
    rows: &[f32],
    scores: &[f32],
    error: &[f32],
) {
    let d = dictionary.d_model;
    let mut chosen: Vec<(u32, f32)> = Vec::new();
    let mut rest = vec![0.0; d];
    for ((x, error), scores) in rows
        .chunks_exact(d)
        .zip(error.chunks_exact(d))
        .zip(scores.chunks_exact(dictionary.features))
    {
        chosen.clear();
        chosen.extend(
            dead.iter()
                .map(|&f| (f, scores[f as usize]))
                .filter(|&(_, score)| score > 0.0),
        );
        if chosen.len() > recipe.auxiliary_active {
            chosen.select_nth_unstable_by(recipe.auxiliary_active, |a, b| b.1.total_cmp(&a.1));
            chosen.truncate(recipe.auxiliary_active);
        }
        // What is missing is -error; the dead features' sum should equal it.
        rest.copy_from_slice(error);
        for &(feature, activation) in &chosen {
            let row = &dictionary.decoder[feature as usize * d..(feature as usize + 1) * d];
            rest.iter_mut().zip(row).for_each(|(e, &w)| *e += activation * w);
        }
        accumulate(gradients, dictionary, x, &rest, &chosen);
    }
}

/// Points dead features at what tokens with a large error still miss (resampling, Bricken et al. 2023).
fn restart(draws: &mut Draws, dictionary: &mut Dictionary, dead: &[usize], rows: &[f32], error: &[f32]) {
    let d = dictionary.d_model;
    let square = |row: &[f32]| row.iter().map(|&e| f64::from(e * e)).sum::<f64>();
    let weights: Vec<f64> = error.chunks_exact(d).map(square).collect();
    for &feature in dead {
        let token = draws.weighted(&weights) * d;
        let (x, error) = (&rows[token..token + d], &error[token..token + d]);
        let norm = square(error).sqrt().max(1e-12) as f32;
        let place = feature * d..(feature + 1) * d;
        let mut along = 0.0;
        for ((w, v), (&x, &e)) in dictionary.decoder[place.clone()]
            .iter_mut()
            .zip(&mut dictionary.encoder[place])
            .zip(x.iter().zip(error))
        {
            *w = -e / norm;
            *v = START_SHARE * *w;
            along += *v * x;
        }
        // At this token the score is the same share of what is missing.
        dictionary.encoder_bias[feature] = START_SHARE * norm - along;
    }
}

/// Takes the part along each unit row out of its gradient, since rows are normalised again anyway.
fn remove_parallel(gradient: &mut [f32], decoder: &[f32], d: usize) {
    for (g, row) in gradient.chunks_exact_mut(d).zip(decoder.chunks_exact(d)) {
        let along: f32 = g.iter().zip(row).map(|(&g, &w)| g * w).sum();
        g.iter_mut().zip(row).for_each(|(g, &w)| *g -= along * w);
    }
}

fn normalize_rows(rows: &mut [f32], d: usize) {
    for row in rows.chunks_exact_mut(d) {
        let norm = row.iter().map(|&v| v * v).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|v| *v /= norm);
    }
}

/// The threshold above which, on average, `active` features per token of `x` lie.
fn threshold(dictionary: &Dictionary, x: &[f32], active: f64) -> Result<f32> {
    let n = x.len() / dictionary.d_model;
    let mut positive = Vec::new();
    let mut scores = Vec::new();
    for x in x.chunks(1024 * dictionary.d_model) {
        dictionary.scores(&mut scores, x)?;
        positive.extend(scores.iter().copied().filter(|&score| score > 0.0));
    }
    let wanted = (active * n as f64) as usize;
    if positive.len() <= wanted {
        return Ok(0.0);
    }
    let at = positive.len() - wanted - 1;
    Ok(*positive.select_nth_unstable_by(at, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::activations::Place;
    use crate::dictionary::quality::measure;

    #[test]
    fn a_sparse_code_is_recovered() {
        // Tokens are a mean plus two of 24 random directions.
        let (d, n) = (12, 6000);
        let mut draws = Draws::new(9, Split::Shuffle, 77);
        let mut directions: Vec<f32> = (0..24 * d).map(|_| draws.normal() as f32).collect();
        normalize_rows(&mut directions, d);
        let mut x = Vec::new();
        for _ in 0..n {
            let mut row = vec![2.0f32; d];
            for _ in 0..2 {
                let (direction, size) = (draws.below(24), 1.0 + draws.unit() as f32);
                row.iter_mut()
                    .zip(&directions[direction * d..])
                    .for_each(|(v, &w)| *v += size * w);
            }
            x.extend(row);
        }
        let recipe = DictionaryRecipe {
            expansion: 4,
            active: 2.5,
            documents: 0,
            epochs: 40,
            cue_repeats: 1,
            response_repeats: 1,
            batch: 250,
            rate: 3e-3,
            warm_up: 10,
            dead_after: 5000,
            auxiliary_active: 4,
            smallest_share: 0.0,
        };
        let (train, held_out) = x.split_at(5000 * d);
        let dictionary = train_dictionary(
            &recipe,
            1,
            0,
            d,
            (train, &vec![Place::Prompt; 5000]),
            held_out,
            |_| Ok(()),
        )
        .unwrap();
        let quality = measure(&dictionary, held_out, &vec![Place::Prompt; 1000]).unwrap();
        assert!(quality.explained_variance > 0.85, "{quality:?}");
        assert!((2.3..2.7).contains(&quality.mean_l0), "{quality:?}");
        for row in dictionary.decoder.chunks_exact(d) {
            assert!((row.iter().map(|&v| v * v).sum::<f32>() - 1.0).abs() < 5e-3);
        }
    }
}
