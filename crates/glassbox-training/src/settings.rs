//! Everything that can be chosen about a training run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainingError};
use crate::objective::Objective;
use crate::preparation::BiasStart;
use crate::schedule::Schedule;

/// Steps that a run should have: with fewer, dictionaries explain markedly less at the same number of tokens.
const STEPS: u64 = 2000;
/// Bounds of a batch that is not set. Larger ones gain no speed, smaller ones lose some to Adam.
const LEAST_BATCH: usize = 512;
const MOST_BATCH: usize = 4096;

/// A run: the dictionaries to train, all from one pass over the activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Tokens to train on; the activations are passed over again where they hold fewer.
    pub tokens: u64,
    /// Tokens of a step; as many as give two thousand steps, within 512 to 4096, unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Tokens that the shuffle buffer holds.
    pub shuffle: usize,
    /// Seed of the shuffle buffer.
    pub seed: u64,
    /// Held-out tokens that figures are measured on, at most.
    pub held_out_tokens: usize,
    /// Training tokens looked at beforehand, for scale and mean.
    pub survey_tokens: usize,
    /// Steps between two measurements on held-out tokens; 0 is at the end only.
    pub evaluate_every: u64,
    /// Steps between two checkpoints; 0 is at the end only.
    pub checkpoint_every: u64,
    /// Steps between two lines of history.
    pub history_every: u64,
    /// The dictionaries.
    #[serde(rename = "dictionary")]
    pub dictionaries: Vec<DictionarySettings>,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            tokens: 2_000_000,
            batch: None,
            shuffle: 1 << 17,
            seed: 0,
            held_out_tokens: 8192,
            survey_tokens: 1 << 14,
            evaluate_every: 100,
            checkpoint_every: 200,
            history_every: 10,
            dictionaries: Vec::new(),
        }
    }
}

impl TrainSettings {
    /// Tokens of a step.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or_else(|| {
            let enough_steps = (self.tokens / STEPS) as usize;
            enough_steps
                .next_multiple_of(LEAST_BATCH / 2)
                .clamp(LEAST_BATCH, MOST_BATCH)
                .min(self.shuffle.max(1))
        })
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.tokens.div_ceil(self.batch().max(1) as u64)
    }

    /// Checks all numbers that don't depend on the activations.
    ///
    /// # Errors
    /// [`TrainingError::Setting`] naming the first that can't be.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(TrainingError::Setting {
                key: key.to_owned(),
                found,
                expected: expected.to_owned(),
            })
        };
        if self.tokens == 0 {
            return wrong("tokens", "0".to_owned(), "at least 1");
        }
        let batch = self.batch();
        if batch == 0 || u32::try_from(batch).is_err() {
            return wrong("batch", batch.to_string(), "1 to 2^32 − 1");
        }
        if self.shuffle < batch {
            let expected = format!("at least the batch, {batch}; several times that mixes well");
            return wrong("shuffle", self.shuffle.to_string(), &expected);
        }
        if self.held_out_tokens == 0 {
            return wrong("held_out_tokens", "0".to_owned(), "at least 1");
        }
        if self.survey_tokens < 2 {
            return wrong("survey_tokens", self.survey_tokens.to_string(), "at least 2");
        }
        if self.dictionaries.is_empty() {
            return wrong("dictionary", "empty".to_owned(), "at least one [[dictionary]]");
        }
        for (i, dictionary) in self.dictionaries.iter().enumerate() {
            dictionary.check()?;
            let names = &self.dictionaries[..i];
            if names.iter().any(|other| other.name() == dictionary.name()) {
                let expected = "names that differ; give the dictionaries a `name` each";
                return wrong("dictionary.name", dictionary.name(), expected);
            }
        }
        Ok(())
    }
}

/// Number of features: a number, or a multiple of the site's width (`16d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FeatureCountText", into = "FeatureCountText")]
pub enum FeatureCount {
    /// So many.
    Number(usize),
    /// So many times the width.
    Multiple(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum FeatureCountText {
    Number(usize),
    Text(String),
}

impl FeatureCount {
    /// The number for a site of this width. One beyond all bounds stays there, and is refused as any that is too large.
    pub fn of_width(self, width: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Multiple(factor) => factor.saturating_mul(width),
        }
    }
}

impl FromStr for FeatureCount {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parsed = match text.strip_suffix('d') {
            Some(factor) => factor.parse().map(Self::Multiple),
            None => text.parse().map(Self::Number),
        };
        match parsed {
            Ok(Self::Number(n) | Self::Multiple(n)) if n > 0 => parsed.map_err(|error| error.to_string()),
            _ => Err(format!(
                "`{text}` is not a number of features; expected a number such as 4096, or a multiple of the width such as 16d"
            )),
        }
    }
}

impl fmt::Display for FeatureCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Multiple(factor) => write!(f, "{factor}d"),
        }
    }
}

impl TryFrom<FeatureCountText> for FeatureCount {
    type Error = String;

    fn try_from(text: FeatureCountText) -> std::result::Result<Self, String> {
        match text {
            FeatureCountText::Number(number) => number.to_string().parse(),
            FeatureCountText::Text(text) => text.parse(),
        }
    }
}

impl From<FeatureCount> for FeatureCountText {
    fn from(count: FeatureCount) -> Self {
        match count {
            FeatureCount::Number(number) => Self::Number(number),
            FeatureCount::Multiple(_) => Self::Text(count.to_string()),
        }
    }
}

/// How dead features learn: their k largest pre-activations reconstruct the error that the others leave, as
/// coefficient · ‖e − ê‖² / ‖e‖² (Gao et al. 2024).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auxiliary {
    /// Weight of the loss; 0 turns it off.
    pub coefficient: f64,
    /// Dead features used per token; half of the width unless set.
    pub k: Option<usize>,
}

impl Default for Auxiliary {
    fn default() -> Self {
        Self {
            coefficient: 1.0 / 32.0,
            k: None,
        }
    }
}

/// One dictionary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DictionarySettings {
    /// Its folder's name; made of site, architecture and seed unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// TransformerLens name of the site that is read.
    pub site: String,
    /// The site that is written, for a transcoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_site: Option<String>,
    /// Whether a transcoder adds a linear map of its input to its output.
    #[serde(default)]
    pub skip: bool,
    /// Number of features.
    pub features: FeatureCount,
    /// What is trained.
    pub objective: Objective,
    /// Adam's learning rate; 8e-4 / √(features / 16384), at most 3e-3, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Its course.
    #[serde(default = "default_schedule")]
    pub schedule: Schedule,
    /// Share of the run in which the learning rate rises.
    #[serde(default = "default_warm_up")]
    pub warm_up: f64,
    /// Share of the run in which a penalty rises to its full weight.
    #[serde(default = "default_sparsity_warm_up")]
    pub sparsity_warm_up: f64,
    /// Longest gradient, over all weights; 0 is none.
    #[serde(default = "default_clip")]
    pub gradient_clip: f64,
    /// Adam's decay of the first moment.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// Adam's decay of the second moment.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// What dead features do.
    #[serde(default)]
    pub auxiliary: Auxiliary,
    /// Tokens without activity after which a feature counts as dead; a hundredth of the run, at most 10 million, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    /// What the decoder's bias begins with.
    #[serde(default)]
    pub bias_start: BiasStart,
    /// Seed of the first weights.
    #[serde(default)]
    pub seed: u64,
}

fn default_schedule() -> Schedule {
    Schedule::Linear
}

fn default_warm_up() -> f64 {
    0.05
}

fn default_sparsity_warm_up() -> f64 {
    0.1
}

fn default_clip() -> f64 {
    1.0
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

impl DictionarySettings {
    /// With the usual choices.
    pub fn new(site: impl Into<String>, features: FeatureCount, objective: Objective) -> Self {
        Self {
            name: None,
            site: site.into(),
            output_site: None,
            skip: false,
            features,
            objective,
            learning_rate: None,
            schedule: default_schedule(),
            warm_up: default_warm_up(),
            sparsity_warm_up: default_sparsity_warm_up(),
            gradient_clip: default_clip(),
            beta1: default_beta1(),
            beta2: default_beta2(),
            auxiliary: Auxiliary::default(),
            dead_after: None,
            bias_start: BiasStart::default(),
            seed: 0,
        }
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("{}-{}-seed{}", self.site, self.objective.name(), self.seed))
    }

    /// Whether it reads one site and writes another.
    pub fn is_transcoder(&self) -> bool {
        self.output_site.as_ref().is_some_and(|site| *site != self.site)
    }

    /// The learning rate for so many features: it falls with their square root as in Gao et al. 2024, but is four times
    /// as high, for runs of hundreds of steps and not of hundreds of thousands.
    pub(crate) fn rate(&self, features: usize) -> f64 {
        self.learning_rate
            .unwrap_or_else(|| (8e-4 / (features as f64 / f64::from(1 << 14)).sqrt()).min(3e-3))
    }

    /// Tokens without activity after which a feature is dead, in a run of so many.
    pub(crate) fn dead_after(&self, tokens: u64) -> u64 {
        self.dead_after.unwrap_or((tokens / 100).clamp(1, 10_000_000))
    }

    /// Checks all numbers that don't depend on the width.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub(crate) fn check(&self) -> Result<()> {
        let share = "a share from 0 to 1";
        let decay = "a number of at least 0 and below 1";
        let positive = "a number above 0";
        let at_least_zero = "a number of at least 0";
        let numbers = [
            ("learning_rate", self.learning_rate.unwrap_or(1.0), positive),
            ("warm_up", self.warm_up, share),
            ("sparsity_warm_up", self.sparsity_warm_up, share),
            ("gradient_clip", self.gradient_clip, at_least_zero),
            ("beta1", self.beta1, decay),
            ("beta2", self.beta2, decay),
            ("auxiliary.coefficient", self.auxiliary.coefficient, at_least_zero),
        ];
        let fits = |value: f64, expected: &str| {
            value.is_finite()
                && value >= 0.0
                && !(expected == positive && value == 0.0)
                && !(expected == share && value > 1.0)
                && !(expected == decay && value >= 1.0)
        };
        if let Some((key, value, expected)) = (numbers.into_iter()).find(|&(_, v, e)| !fits(v, e)) {
            return Err(self.wrong(key, value.to_string(), expected));
        }
        let name = self.name();
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            let expected = "a plain folder name";
            return Err(self.wrong("name", name, expected));
        }
        if self.skip && !self.is_transcoder() {
            let expected = "false, or an output_site that differs from the site";
            return Err(self.wrong("skip", "true".to_owned(), expected));
        }
        if self.auxiliary.k == Some(0) {
            return Err(self.wrong("auxiliary.k", "0".to_owned(), "at least 1"));
        }
        Ok(())
    }

    fn wrong(&self, key: &str, found: String, expected: &str) -> TrainingError {
        TrainingError::Setting {
            key: format!("dictionary `{}`: {key}", self.name()),
            found,
            expected: expected.to_owned(),
        }
    }
}
