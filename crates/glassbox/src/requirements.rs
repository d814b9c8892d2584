//! What `evaluate --require` asks of a dictionary.

use glassbox_interpretation::evaluation::Evaluation;

/// A figure that can be required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Required {
    ExplainedVariance,
    Cosine,
    L0,
    Dead,
    Recovered,
    Divergence,
}

const NAMES: [(&str, Required); 6] = [
    ("ev", Required::ExplainedVariance),
    ("cosine", Required::Cosine),
    ("l0", Required::L0),
    ("dead", Required::Dead),
    ("recovered", Required::Recovered),
    ("kl", Required::Divergence),
];

/// Limits on figures: `ev=0.9,l0=16,dead=0.1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirements(Vec<(Required, f64)>);

impl std::str::FromStr for Requirements {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(|part| {
                let valid = || NAMES.map(|(name, _)| name).join(", ");
                let (name, limit) = part
                    .split_once('=')
                    .ok_or_else(|| format!("`{part}` is no NAME=LIMIT; names are {}", valid()))?;
                let required = NAMES
                    .iter()
                    .find(|(known, _)| *known == name.trim())
                    .ok_or_else(|| format!("there is no figure `{name}`; choose among {}", valid()))?;
                let limit: f64 = limit
                    .trim()
                    .parse()
                    .map_err(|_| format!("`{limit}` is no number"))?;
                if !limit.is_finite() {
                    return Err(format!("`{limit}` is no finite number"));
                }
                Ok((required.1, limit))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Requirements {
    /// What a dictionary misses, in words.
    pub fn missed(&self, evaluation: &Evaluation) -> Vec<String> {
        let losses = evaluation.loss.as_ref();
        self.0
            .iter()
            .filter_map(|(required, limit)| {
                let (what, found, at_least) = match required {
                    Required::ExplainedVariance => (
                        "explained variance",
                        evaluation.reconstruction.explained_variance,
                        true,
                    ),
                    Required::Cosine => ("cosine", evaluation.reconstruction.cosine, true),
                    Required::L0 => ("L0", Some(evaluation.sparsity.l0), false),
                    Required::Dead => ("dead share", Some(evaluation.sparsity.dead_share), false),
                    Required::Recovered => (
                        "loss recovered against zero ablation",
                        losses
                            .and_then(|losses| losses.recovered_against_zero)
                            .map(|figure| figure.estimate),
                        true,
                    ),
                    Required::Divergence => (
                        "KL",
                        losses.map(|losses| losses.divergence_spliced.estimate),
                        false,
                    ),
                };
                let wanted = if at_least { "at least" } else { "at most" };
                match found {
                    None => Some(format!(
                        "{what} could not be measured, {wanted} {limit} is required"
                    )),
                    Some(found) if (found >= *limit) == at_least || found == *limit => None,
                    Some(found) => Some(format!("{what} is {found:.4}, {wanted} {limit} is required")),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_or_refused() {
        assert_eq!(
            "ev=0.9,dead=0.1".parse(),
            Ok(Requirements(vec![
                (Required::ExplainedVariance, 0.9),
                (Required::Dead, 0.1)
            ]))
        );
        assert!("".parse::<Requirements>().unwrap_err().contains("names are ev"));
        assert!(
            "fve=1"
                .parse::<Requirements>()
                .unwrap_err()
                .contains("choose among")
        );
        assert!("ev=x".parse::<Requirements>().is_err());
    }
}
