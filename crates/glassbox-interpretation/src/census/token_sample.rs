//! Activations of a uniform sample of tokens, for correlations of features.

use glassbox_dictionary::SparseFeatures;
use rayon::prelude::*;

/// Active features of sampled tokens. The sample holds every token whose random priority lies below a limit, which is halved when the
/// sample is full.
#[derive(Clone, Debug)]
pub struct TokenSample {
    most: usize,
    below: u64,
    tokens: Vec<(u64, Vec<(u32, f32)>)>,
}

/// A feature that is correlated with another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlated {
    /// The other feature.
    pub feature: u32,
    /// Pearson correlation of the activations over the sampled tokens.
    pub correlation: f64,
    /// Sampled tokens on which both were active.
    pub together: u64,
    /// Sampled tokens on which both were active, of those on which either was.
    pub jaccard: f64,
}

impl TokenSample {
    /// No tokens yet, and at most so many.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            below: u64::MAX,
            tokens: Vec::new(),
        }
    }

    /// Offers the tokens of a pass with their priorities.
    pub fn offer(&mut self, features: &SparseFeatures, priorities: &[u64]) {
        for (row, priority) in priorities.iter().enumerate() {
            if *priority >= self.below {
                continue;
            }
            let (ids, values) = features.row(row);
            let active = ids.iter().copied().zip(values.iter().copied()).collect();
            self.tokens.push((*priority, active));
            while self.tokens.len() > self.most {
                self.below /= 2;
                let below = self.below;
                self.tokens.retain(|(priority, _)| *priority < below);
            }
        }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// For every feature the so many with the highest correlation, above zero and active together on at least two sampled tokens;
    /// of equals the lower feature.
    pub fn correlated(&self, features: usize, most: usize) -> Vec<Vec<Correlated>> {
        let n = self.tokens.len() as f64;
        let mut places: Vec<Vec<(u32, f32)>> = vec![Vec::new(); features];
        for (token, (_, active)) in (0..).zip(&self.tokens) {
            for (feature, value) in active {
                places[*feature as usize].push((token, *value));
            }
        }
        let moments: Vec<(f64, f64)> = places
            .par_iter()
            .map(|places| {
                let sum: f64 = places.iter().map(|(_, value)| f64::from(*value)).sum();
                let squares: f64 = places.iter().map(|(_, value)| f64::from(*value).powi(2)).sum();
                (sum, n * squares - sum * sum)
            })
            .collect();
        places
            .par_iter()
            .enumerate()
            .map_init(
                || (vec![0.0_f64; features], vec![0_u64; features], Vec::new()),
                |(products, together, touched), (feature, places_of_feature)| {
                    for (token, value) in places_of_feature {
                        for (other, other_value) in &self.tokens[*token as usize].1 {
                            let other = *other as usize;
                            if together[other] == 0 {
                                touched.push(other);
                            }
                            products[other] += f64::from(*value) * f64::from(*other_value);
                            together[other] += 1;
                        }
                    }
                    let mut found: Vec<Correlated> = touched
                        .iter()
                        .filter(|other| **other != feature && together[**other] >= 2)
                        .filter_map(|other| {
                            let spread = (moments[feature].1 * moments[*other].1).sqrt();
                            let covariance = n * products[*other] - moments[feature].0 * moments[*other].0;
                            let either = places_of_feature.len() + places[*other].len();
                            (spread > 0.0 && covariance > 0.0).then(|| Correlated {
                                feature: *other as u32,
                                correlation: (covariance / spread).min(1.0),
                                together: together[*other],
                                jaccard: together[*other] as f64 / (either as f64 - together[*other] as f64),
                            })
                        })
                        .collect();
                    for other in touched.drain(..) {
                        products[other] = 0.0;
                        together[other] = 0;
                    }
                    found.sort_by(|one, other| {
                        other
                            .correlation
                            .total_cmp(&one.correlation)
                            .then(one.feature.cmp(&other.feature))
                    });
                    found.truncate(most);
                    found
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::priority::priority;

    fn features(rows: &[&[(u32, f32)]]) -> SparseFeatures {
        let mut sparse = SparseFeatures {
            row_offsets: vec![0],
            ..SparseFeatures::default()
        };
        for row in rows {
            for (feature, value) in *row {
                sparse.features.push(*feature);
                sparse.values.push(*value);
            }
            sparse.row_offsets.push(sparse.features.len());
        }
        sparse
    }

    #[test]
    fn correlations_equal_the_definition() {
        let rows: [&[(u32, f32)]; 5] = [
            &[(0, 1.0), (1, 2.0)],
            &[(0, 3.0), (1, 5.0), (2, 1.0)],
            &[(2, 2.0)],
            &[(0, 2.0), (1, 1.0)],
            &[],
        ];
        let mut sample = TokenSample::new(10);
        sample.offer(&features(&rows), &[1, 2, 3, 4, 5]);
        let found = sample.correlated(4, 3);
        let (a, b) = ([1.0, 3.0, 0.0, 2.0, 0.0], [2.0, 5.0, 0.0, 1.0, 0.0]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / 5.0;
        let (ma, mb) = (mean(&a), mean(&b));
        let covariance: f64 = a.iter().zip(&b).map(|(x, y)| (x - ma) * (y - mb)).sum();
        let spread = |v: &[f64], m: f64| v.iter().map(|x| (x - m).powi(2)).sum::<f64>();
        let expected = covariance / (spread(&a, ma) * spread(&b, mb)).sqrt();
        assert_eq!(found[0].len(), 1);
        assert!((found[0][0].correlation - expected).abs() < 1e-12);
        assert_eq!(
            (found[0][0].feature, found[0][0].together, found[0][0].jaccard),
            (1, 3, 1.0)
        );
        assert!(found[3].is_empty());
    }

    #[test]
    fn a_full_sample_stays_uniform_and_within_its_limit() {
        let mut sample = TokenSample::new(100);
        let row = features(&[&[(0, 1.0)]]);
        for token in 0..5000 {
            sample.offer(&row, &[priority(1, 1, token)]);
        }
        assert!((40..=100).contains(&sample.len()), "{}", sample.len());
        let below = sample.below;
        let expected = (0..5000).filter(|token| priority(1, 1, *token) < below).count();
        assert_eq!(sample.len(), expected);
    }
}
