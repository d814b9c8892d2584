//! The exact decision read-out: the log-odds of one outcome against another after a forced prefix, without sampling.
//!
//! A scenario's `[decision]` section names the prefix and, for two outcomes, the continuations that mean them. With
//! c = (t_1, …, t_k) the tokens of a continuation as they follow prompt and prefix,
//!
//! ```text
//! log p(c)     = Σ_j log softmax(logits after prompt + prefix + t_1 … t_{j−1})[t_j]      (teacher forcing)
//! p(outcome)   = Σ_c p(c) over the outcome's continuations
//! log-odds     = log p(target) − log p(other), in nats
//! ```
//!
//! Probabilities are at temperature 1 over the whole vocabulary. No continuation may begin with another, so that no
//! probability is counted twice. Interventions act as in the sweep, the forced tokens counting as generated ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::forward::{ForwardRequest, LogitPosition, LogitPositions, Logits, Workspace};
use glassbox_model::gradient::Seeds;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::Beginning;
use serde::{Deserialize, Serialize};

use crate::continuation::continuation_tokens;
use crate::error::ExperimentError;
use crate::metric::log_sum_exp;
use crate::session::Session;

/// Name of the stage.
pub const STAGE: &str = "decision";

/// The `[decision]` section of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionSettings {
    /// What every prompt is followed by, before the decision is read.
    pub prefix: String,
    /// For the target outcome and one other: the texts after the prefix that mean it.
    pub labels: BTreeMap<String, Vec<String>>,
}

impl DecisionSettings {
    /// Checks that the labels are the target and one other outcome, each with texts.
    ///
    /// # Errors
    /// What is wrong, for the scenario's message.
    pub fn check(&self, choices: &[String], target: &str) -> Result<(), String> {
        let names: Vec<&str> = self.labels.keys().map(String::as_str).collect();
        if let Some(unknown) = names
            .iter()
            .find(|name| !choices.iter().any(|choice| choice == *name))
        {
            return Err(format!(
                "decision.labels names '{unknown}', which is not among outcome.choices: {}",
                choices.join(", ")
            ));
        }
        if names.len() != 2 || !names.contains(&target) {
            return Err(format!(
                "decision.labels must name the target outcome '{target}' and one other; it names: {}",
                names.join(", ")
            ));
        }
        for (name, texts) in &self.labels {
            if texts.is_empty() {
                return Err(format!(
                    "decision.labels.{name} is empty; give at least one text that means '{name}'"
                ));
            }
        }
        Ok(())
    }

    /// The other outcome.
    pub fn other<'a>(&'a self, target: &str) -> &'a str {
        self.labels
            .keys()
            .find(|name| *name != target)
            .map_or("", String::as_str)
    }
}

/// What is read of one row of a decision: log probabilities of the target and of the other outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// log p(target), in nats.
    pub target: f64,
    /// log p(other), in nats.
    pub other: f64,
}

impl Reading {
    /// log p(target) − log p(other).
    pub fn log_odds(&self) -> f64 {
        self.target - self.other
    }
}

/// An edit of a block's output; `None` leaves the model as it is.
pub type ArmEdit = Option<(u32, Arc<dyn RowEdit<CpuBackend>>)>;

/// The tokens of one prompt's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionTokens {
    prompt: Vec<u32>,
    forced: Vec<u32>,
    /// Continuations of the target and of the other outcome.
    continuations: [Vec<Vec<u32>>; 2],
    /// What is fed after prompt and prefix so that every token of every continuation is predicted: one row each.
    paths: Vec<Vec<u32>>,
}

impl DecisionTokens {
    /// Finds the tokens of a prompt's decision.
    ///
    /// # Errors
    /// [`ExperimentError::Continuation`] for a text without tokens of its own, [`ExperimentError::Data`] if one continuation begins with
    /// another or all do not fit the context; those of the tokenizer.
    pub fn resolve(
        session: &Session,
        settings: &DecisionSettings,
        target: &str,
        prompt: &str,
    ) -> Result<Self, ExperimentError> {
        let (tokenizer, config) = (session.tokenizer(), session.model().config());
        let beginning = Beginning::of_prompts(config);
        let forced = match settings.prefix.as_str() {
            "" => Vec::new(),
            prefix => continuation_tokens(tokenizer, beginning, prompt, prefix)?,
        };
        let context = format!("{prompt}{}", settings.prefix);
        let of_label = |name: &str| -> Result<Vec<(String, Vec<u32>)>, ExperimentError> {
            let texts = settings.labels.get(name).map(Vec::as_slice).unwrap_or_default();
            texts
                .iter()
                .map(|text| {
                    Ok((
                        text.clone(),
                        continuation_tokens(tokenizer, beginning, &context, text)?,
                    ))
                })
                .collect()
        };
        let labels = [of_label(target)?, of_label(settings.other(target))?];
        let all: Vec<&(String, Vec<u32>)> = labels.iter().flatten().collect();
        for (i, (one, one_tokens)) in all.iter().enumerate() {
            for (j, (other, other_tokens)) in all.iter().enumerate() {
                if i != j && other_tokens.starts_with(one_tokens) {
                    return Err(ExperimentError::Data {
                        stage: STAGE,
                        what: format!(
                            "the continuation {other:?} begins with the tokens of {one:?}, so that its probability would count \
                             twice; leave out one of them, or make {one:?} longer"
                        ),
                    });
                }
            }
        }
        let tokens = Self::new(
            session.encode(prompt)?,
            forced,
            labels.map(|label| label.into_iter().map(|(_, tokens)| tokens).collect()),
        );
        if tokens.length() > config.max_positions {
            return Err(ExperimentError::Data {
                stage: STAGE,
                what: format!(
                    "prompt, prefix and continuation have {} tokens together, and the model's context holds {}; shorten the \
                     prompt, which ends in {:?}",
                    tokens.length(),
                    config.max_positions,
                    prompt
                        .chars()
                        .rev()
                        .take(40)
                        .collect::<Vec<_>>()
                        .into_iter()
                        .rev()
                        .collect::<String>()
                ),
            });
        }
        Ok(tokens)
    }

    /// From token ids: none of the continuations may be empty or begin with another.
    fn new(prompt: Vec<u32>, forced: Vec<u32>, continuations: [Vec<Vec<u32>>; 2]) -> Self {
        let fed: BTreeSet<&[u32]> = continuations
            .iter()
            .flatten()
            .map(|continuation| &continuation[..continuation.len().saturating_sub(1)])
            .collect();
        let paths = fed
            .iter()
            .filter(|path| {
                !fed.iter()
                    .any(|other| other.len() > path.len() && other.starts_with(path))
            })
            .map(|path| path.to_vec())
            .collect();
        Self {
            prompt,
            forced,
            continuations,
            paths,
        }
    }

    /// Rows of one decision.
    pub fn rows(&self) -> usize {
        self.paths.len()
    }

    /// Tokens of the prompt.
    pub fn prompt_length(&self) -> usize {
        self.prompt.len()
    }

    /// Tokens of a row.
    pub fn length(&self) -> usize {
        let longest = self.paths.iter().map(Vec::len).max().unwrap_or_default();
        self.prompt.len() + self.forced.len() + longest
    }

    /// The rows' tokens from `first` on. Shorter rows are filled up at their end, which nothing that is read can see.
    fn tokens(&self, first: usize) -> Vec<Vec<u32>> {
        let length = self.length() - first;
        self.paths
            .iter()
            .map(|path| {
                let whole = self.prompt.iter().chain(&self.forced).chain(path);
                let mut row: Vec<u32> = whole.skip(first).copied().collect();
                row.resize(length, TokenBatch::PADDING);
                row
            })
            .collect()
    }

    /// Whole rows, for passes without a cache.
    pub fn whole_rows(&self) -> Vec<Vec<u32>> {
        self.tokens(0)
    }

    /// Where the logits are read, for rows from `first_row` on.
    pub fn places(&self, first_row: usize) -> Vec<LogitPosition> {
        let base = (self.prompt.len() + self.forced.len() - 1) as u32;
        let mut places = Vec::new();
        for (row, path) in self.paths.iter().enumerate() {
            for j in 0..=path.len() as u32 {
                places.push(LogitPosition {
                    row: (first_row + row) as u32,
                    position: base + j,
                });
            }
        }
        places
    }

    /// The row that predicts every token of a continuation.
    fn path_of(&self, continuation: &[u32]) -> usize {
        let fed = &continuation[..continuation.len().saturating_sub(1)];
        self.paths
            .iter()
            .position(|path| path.starts_with(fed))
            .unwrap_or_default()
    }

    /// The place of each token of a continuation, with the token.
    fn steps<'a>(
        &self,
        continuation: &'a [u32],
        first_row: usize,
    ) -> impl Iterator<Item = (LogitPosition, u32)> + use<'a> {
        let row = (first_row + self.path_of(continuation)) as u32;
        let base = (self.prompt.len() + self.forced.len() - 1) as u32;
        continuation
            .iter()
            .zip(base..)
            .map(move |(&token, position)| (LogitPosition { row, position }, token))
    }

    /// log p of every continuation of a label.
    fn log_probabilities(&self, label: usize, logits: &Logits, first_row: usize) -> Vec<f64> {
        self.continuations[label]
            .iter()
            .map(|continuation| {
                self.steps(continuation, first_row)
                    .map(|(at, token)| {
                        let row = logits.at(at.row, at.position).unwrap_or_default();
                        row.get(token as usize)
                            .map_or(f64::NEG_INFINITY, |logit| f64::from(*logit))
                            - log_sum_exp(row)
                    })
                    .sum()
            })
            .collect()
    }

    /// The reading of the rows from `first_row` on; `logits` must hold their [`DecisionTokens::places`].
    pub fn read(&self, logits: &Logits, first_row: usize) -> Reading {
        Reading {
            target: sum_in_logs(&self.log_probabilities(0, logits, first_row)),
            other: sum_in_logs(&self.log_probabilities(1, logits, first_row)),
        }
    }

    /// The derivatives of the log-odds with respect to the logits.
    ///
    /// With w_c = p(c)/p(outcome): Σ_c ±w_c Σ_j (onehot(t_j) − softmax_j), plus for the target, minus for the other.
    pub fn seeds(&self, logits: &Logits, first_row: usize) -> Seeds {
        self.derivatives(logits, first_row)
            .into_iter()
            .fold(Seeds::new(), |seeds, (at, values)| {
                seeds.logits(at.row, at.position, &values)
            })
    }

    fn derivatives(&self, logits: &Logits, first_row: usize) -> BTreeMap<LogitPosition, Vec<f32>> {
        let mut by_place: BTreeMap<LogitPosition, Vec<f32>> = BTreeMap::new();
        for (label, sign) in [(0, 1.0), (1, -1.0)] {
            let log_probabilities = self.log_probabilities(label, logits, first_row);
            let whole = sum_in_logs(&log_probabilities);
            for (continuation, log_probability) in self.continuations[label].iter().zip(log_probabilities) {
                let weight = sign * (log_probability - whole).exp();
                for (at, token) in self.steps(continuation, first_row) {
                    let row = logits.at(at.row, at.position).unwrap_or_default();
                    let normaliser = log_sum_exp(row);
                    let seeds = by_place.entry(at).or_insert_with(|| vec![0.0; row.len()]);
                    for (id, (seed, logit)) in (0..).zip(seeds.iter_mut().zip(row)) {
                        let one = f64::from(u8::from(id == token));
                        *seed += (weight * (one - (f64::from(*logit) - normaliser).exp())) as f32;
                    }
                }
            }
        }
        by_place
    }

    /// The decision under each edit, `at_most` rows at a time. The prompt up to its last token is computed once, unless the
    /// edits act there.
    ///
    /// # Errors
    /// Those of the model; an edit that never fired.
    pub fn readings(
        &self,
        model: &Model<CpuBackend>,
        workspace: &mut Workspace<CpuBackend>,
        arms: &[ArmEdit],
        positions: &Positions,
        at_most: usize,
    ) -> Result<Vec<Reading>, ExperimentError> {
        let shared = match positions {
            Positions::All | Positions::Absolute(_) => 0,
            Positions::LastOfPrompt | Positions::Generated | Positions::LastAndGenerated => {
                self.prompt.len() - 1
            }
        };
        let prefix = if shared == 0 {
            None
        } else {
            let batch = TokenBatch::from_row(&self.prompt[..shared])?;
            let mut cache = KvCache::new(model.backend(), model.config(), 1, shared);
            let request = ForwardRequest::new(&batch)
                .logits(LogitPositions::None)
                .cache(&mut cache);
            model.forward_on_device(workspace, request)?;
            Some(cache)
        };
        let mut readings = Vec::with_capacity(arms.len());
        let chunk = (at_most / self.rows()).max(1);
        for arms in arms.chunks(chunk) {
            let rows: Vec<Vec<u32>> = arms.iter().flat_map(|_| self.tokens(shared)).collect();
            let batch = TokenBatch::from_rows(&rows)?;
            let lengths = vec![self.prompt.len() as u32; rows.len()];
            let program = self.program(arms, positions);
            let places = (0..arms.len())
                .flat_map(|arm| self.places(arm * self.rows()))
                .collect();
            let mut cache = match &prefix {
                Some(prefix) => Some(prefix.fork(&vec![0; rows.len()], self.length())?),
                None => None,
            };
            let mut request = ForwardRequest::new(&batch)
                .logits(LogitPositions::Chosen(places))
                .prompt_lengths(&lengths)
                .program(&program);
            if let Some(cache) = &mut cache {
                request = request.cache(cache);
            }
            let logits = model.forward(workspace, request)?.logits;
            // One arm's logits at a time: finding a place among all of them would be quadratic.
            let of_arm = logits.positions.len() / arms.len().max(1);
            let ranges = (0..arms.len()).map(|arm| arm * of_arm..(arm + 1) * of_arm);
            for (arm, range) in ranges.enumerate() {
                readings.push(self.read(&part(&logits, range), arm * self.rows()));
            }
        }
        Ok(readings)
    }

    /// Each arm's edit on all of its rows.
    fn program(&self, arms: &[ArmEdit], positions: &Positions) -> RowProgram<CpuBackend> {
        let mut program = RowProgram::default();
        for (arm, edit) in arms.iter().enumerate() {
            let Some((layer, edit)) = edit else { continue };
            for row in arm * self.rows()..(arm + 1) * self.rows() {
                program.interventions.push(RowIntervention {
                    rows: BatchRows::One(row as u32),
                    site: Site::ResidPost(*layer),
                    positions: positions.clone(),
                    heads: None,
                    edit: Arc::clone(edit),
                });
            }
        }
        program
    }
}

/// Some rows of logits.
fn part(logits: &Logits, range: Range<usize>) -> Logits {
    Logits {
        positions: logits.positions[range.clone()].to_vec(),
        vocab_size: logits.vocab_size,
        values: logits.values[range.start * logits.vocab_size..range.end * logits.vocab_size].to_vec(),
    }
}

/// log Σ exp(x).
fn sum_in_logs(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    largest
        + values
            .iter()
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_serves_single_tokens_and_longer_continuations_share_rows_they_begin() {
        let single = DecisionTokens::new(vec![1, 2], vec![3], [vec![vec![4]], vec![vec![5], vec![6]]]);
        assert_eq!((single.rows(), single.length()), (1, 3));
        assert_eq!(single.whole_rows(), [[1, 2, 3]]);
        assert_eq!(single.places(7), [LogitPosition { row: 7, position: 2 }]);

        let longer = DecisionTokens::new(
            vec![1, 2],
            vec![3],
            [vec![vec![4, 5, 6]], vec![vec![4, 7], vec![8], vec![9, 9]]],
        );
        assert_eq!(longer.whole_rows(), [[1, 2, 3, 4, 5], [1, 2, 3, 9, 0]]);
        assert_eq!(longer.path_of(&[4, 7]), 0);
        assert_eq!(longer.path_of(&[9, 9]), 1);
        assert_eq!(longer.places(0).len(), 3 + 2);
    }

    #[test]
    fn readings_are_sums_of_products_and_seeds_are_their_derivatives() {
        let tokens = DecisionTokens::new(vec![1], vec![2], [vec![vec![0, 1], vec![2]], vec![vec![0, 2]]]);
        let places = tokens.places(0);
        let logits = |values: &[f32]| Logits {
            positions: places.clone(),
            vocab_size: 3,
            values: values.to_vec(),
        };
        let values = [0.3, -1.0, 0.8, 1.1, 0.2, -0.4];
        let softmax = |row: &[f32], token: usize| {
            f64::from(row[token]).exp() / row.iter().map(|x| f64::from(*x).exp()).sum::<f64>()
        };
        let (first, second) = values.split_at(3);
        let target = softmax(first, 0) * softmax(second, 1) + softmax(first, 2);
        let other = softmax(first, 0) * softmax(second, 2);
        let reading = tokens.read(&logits(&values), 0);
        assert!((reading.target - target.ln()).abs() < 1e-6 && (reading.other - other.ln()).abs() < 1e-6);

        let derivatives = tokens.derivatives(&logits(&values), 0);
        let step = 1e-2;
        for (i, at) in places.iter().enumerate() {
            for token in 0..3 {
                let moved = |by: f32| {
                    let mut moved = values;
                    moved[i * 3 + token] += by;
                    tokens.read(&logits(&moved), 0).log_odds()
                };
                let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
                let found = f64::from(derivatives[at][token]);
                assert!((found - slope).abs() < 1e-4, "{at:?} {token}: {found} {slope}");
            }
        }
    }

    #[test]
    fn labels_are_checked() {
        let settings = |labels: &[(&str, &[&str])]| DecisionSettings {
            prefix: "So:".into(),
            labels: labels
                .iter()
                .map(|(name, texts)| {
                    (
                        (*name).to_owned(),
                        texts.iter().map(|text| (*text).to_owned()).collect(),
                    )
                })
                .collect(),
        };
        let choices = ["stop".to_owned(), "bet".to_owned(), "ask".to_owned()];
        assert!(
            settings(&[("stop", &[" Stop"]), ("bet", &[" Bet"])])
                .check(&choices, "stop")
                .is_ok()
        );
        for (labels, expected) in [
            (settings(&[("stop", &[" Stop"])]), "one other"),
            (
                settings(&[("bet", &[" Bet"]), ("ask", &[" Ask"])]),
                "target outcome 'stop'",
            ),
            (settings(&[("stop", &[" Stop"]), ("leave", &[" L"])]), "'leave'"),
            (settings(&[("stop", &[]), ("bet", &[" Bet"])]), "is empty"),
        ] {
            let error = labels.check(&choices, "stop").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
