//! Scalars of one position's logits.

use crate::error::ExperimentError;

/// A scalar of the logits [vocab] of one position. Logarithms are natural.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitMetric {
    /// The logit of a token.
    Logit(u32),
    /// The logit of the first token minus that of the second: the log-odds of the one against the other.
    LogitDifference(u32, u32),
    /// log softmax of a token.
    LogProbability(u32),
}

impl LogitMetric {
    /// Reads `logit A`, `logit_difference A B` or `log_probability A`. Tokens are separated by spaces; quotation marks keep
    /// a token's own: `logit_difference " Mary" " John"`. `token` finds the id of a token's text.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] naming the valid forms; those of `token`.
    pub fn parse(
        text: &str,
        token: &dyn Fn(&str) -> Result<u32, ExperimentError>,
    ) -> Result<Self, ExperimentError> {
        let words = split(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["logit", a] => Ok(Self::Logit(token(a)?)),
            ["logit_difference", a, b] => {
                let (first, second) = (token(a)?, token(b)?);
                if first == second {
                    return Err(ExperimentError::Data {
                        stage: "metric",
                        what: format!("'{text}' subtracts a token from itself; name two tokens"),
                    });
                }
                Ok(Self::LogitDifference(first, second))
            }
            ["log_probability", a] => Ok(Self::LogProbability(token(a)?)),
            _ => Err(ExperimentError::Data {
                stage: "metric",
                what: format!(
                    "'{text}' is no metric; the valid ones are: logit A, logit_difference A B, log_probability A, where A and B \
                     are tokens, in quotation marks where they hold a space: logit_difference \" Mary\" \" John\""
                ),
            }),
        }
    }

    /// The tokens that it reads.
    pub fn tokens(&self) -> Vec<u32> {
        match *self {
            Self::Logit(a) | Self::LogProbability(a) => vec![a],
            Self::LogitDifference(a, b) => vec![a, b],
        }
    }

    /// The metric of these logits. A token outside them counts as a logit of −∞; [`LogitMetric::tokens`] lets a caller check.
    pub fn value(&self, logits: &[f32]) -> f64 {
        let logit = |token: u32| {
            logits
                .get(token as usize)
                .map_or(f64::NEG_INFINITY, |logit| f64::from(*logit))
        };
        match *self {
            Self::Logit(a) => logit(a),
            Self::LogitDifference(a, b) => logit(a) - logit(b),
            Self::LogProbability(a) => logit(a) - log_sum_exp(logits),
        }
    }
}

/// log Σ exp(x) in double precision.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() {
        return f64::from(largest);
    }
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

/// Words separated by white space; quotation marks (" or ') keep what is between them together.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in text.chars() {
        match quote {
            Some(mark) if character == mark => quote = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if character == '"' || character == '\'' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LogitMetric, ExperimentError> {
        LogitMetric::parse(text, &|token| {
            Ok(match token {
                " a" => 0,
                "b" => 1,
                _ => 2,
            })
        })
    }

    #[test]
    fn metrics_are_read_and_quotation_marks_keep_spaces() {
        assert_eq!(
            parse("logit_difference \" a\" b").unwrap(),
            LogitMetric::LogitDifference(0, 1)
        );
        assert_eq!(parse("logit ' a'").unwrap(), LogitMetric::Logit(0));
        assert_eq!(
            parse(" log_probability  c ").unwrap(),
            LogitMetric::LogProbability(2)
        );
        for wrong in [
            "",
            "logit",
            "logit a b",
            "logit_difference b",
            "loss b",
            "logit_difference b b",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_those_of_the_logits() {
        let logits = [1.0, -2.0, 0.5];
        assert_eq!(LogitMetric::Logit(1).value(&logits), -2.0);
        assert_eq!(LogitMetric::LogitDifference(0, 1).value(&logits), 3.0);
        let sum: f64 = (0..3)
            .map(|token| LogitMetric::LogProbability(token).value(&logits).exp())
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 2]), f64::NEG_INFINITY);
    }
}
