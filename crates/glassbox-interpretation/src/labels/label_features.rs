//! Explanations of features by a language model, and what they are worth.
//!
//! The protocol is delphi's (Paulo, Mallen, Juang, Belrose 2024): an explanation is written from some contexts, and scored on others.
//! **Detection**: in which of some texts is the feature active, half of which are contexts of it and half texts in which it is not active?
//! **Fuzzing**: in which of some texts are the tokens marked on which it is active, where in half of them as many tokens at random are
//! marked? Both give an accuracy, by chance one half, with Wilson's interval. An answer that cannot be read is counted as unread, not as
//! wrong.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use glassbox_stats::{Confidence, Proportion, wilson_interval};
use serde::{Deserialize, Serialize};

use crate::census::priority::priority;
use crate::census::{BackgroundContext, Context};
use crate::error::{InterpretationError, Result};
use crate::labels::endpoint::{Endpoint, EndpointError, Message};
use crate::labels::prompts::{
    PROMPT_VERSION, active_tokens, detection, explanation, fuzzing, marked, parse_explanation,
    parse_judgements, plain,
};
use crate::reports::{FeatureReport, TokenTexts};
use crate::watch::Watch;

/// Stream of the random numbers of examples.
const EXAMPLE_STREAM: u64 = u64::MAX - 1;

/// How features are labelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSettings {
    /// Contexts that an explanation is written from.
    pub explained_from: usize,
    /// Texts of each kind that it is scored on.
    pub scored_on: usize,
    /// Texts in one question.
    pub texts_per_question: usize,
    /// Features asked about at the same time.
    pub at_a_time: usize,
    /// Seed of the examples.
    pub seed: u64,
}

impl Default for LabelSettings {
    fn default() -> Self {
        Self {
            explained_from: 10,
            scored_on: 10,
            texts_per_question: 5,
            at_a_time: 4,
            seed: 0,
        }
    }
}

/// How many judgements were right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// Judgements that were right.
    pub right: u64,
    /// Judgements that were read.
    pub judged: u64,
    /// Texts whose answer could not be read.
    pub unread: u64,
    /// right / judged.
    pub accuracy: Option<f64>,
    /// Lower end of Wilson's 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked.
    pub messages: Vec<Message>,
    /// What was answered.
    pub answer: String,
}

/// What was said of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureLabel {
    /// The feature.
    pub feature: u32,
    /// BLAKE3 of everything that the label depends on: endpoint, model, prompts, contexts, settings.
    pub key: String,
    /// The endpoint and the model.
    pub endpoint: String,
    /// The explanation; `None` if the answer held none.
    pub label: Option<String>,
    /// Detection.
    pub detection: Option<LabelScore>,
    /// Fuzzing.
    pub fuzzing: Option<LabelScore>,
    /// Every question and answer.
    pub exchanges: Vec<Exchange>,
}

/// Why labelling ended early.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The endpoint failed.
    #[error("{error} (feature {feature}); the labels so far are in {file}, the same command continues")]
    Endpoint {
        /// What happened.
        error: EndpointError,
        /// The feature.
        feature: u32,
        /// The file of labels.
        file: String,
    },
    /// The endpoint failed before anything was begun.
    #[error("{0}; nothing was begun")]
    Unusable(EndpointError),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] InterpretationError),
}

/// Labels features, and keeps every finished label in a JSON-lines file: features that the file holds already, under the same key, are
/// not asked about again. Features with fewer than two contexts are passed over.
///
/// # Errors
/// [`LabelError::Endpoint`] if the endpoint fails for good; [`InterpretationError::Line`] if the file is damaged; [`InterpretationError::Io`].
pub fn label_features(
    endpoint: &dyn Endpoint,
    features: &[&FeatureReport],
    background: &[BackgroundContext],
    texts: &TokenTexts,
    settings: &LabelSettings,
    path: &Path,
    watch: &dyn Watch,
) -> std::result::Result<BTreeMap<u32, FeatureLabel>, LabelError> {
    let mut labels = read_labels(path)?;
    let io = |action| {
        let path = path.to_path_buf();
        move |cause| InterpretationError::Io { action, path, cause }
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io("open"))?;
    let mut wanted = Vec::new();
    for feature in features.iter().filter(|feature| feature.top_contexts.len() >= 2) {
        let plan = Plan::new(feature, background, settings);
        let key = plan.key(endpoint, texts, settings);
        if labels.get(&feature.feature).is_none_or(|label| label.key != key) {
            labels.remove(&feature.feature);
            wanted.push((feature.feature, key, plan));
        }
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let written: Mutex<(std::fs::File, Vec<FeatureLabel>, Option<LabelError>)> =
        Mutex::new((file, Vec::new(), None));
    let work = || {
        while !stop.load(Ordering::Relaxed) && !watch.should_stop() {
            let Some((feature, key, plan)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let outcome = plan.label(endpoint, *feature, key, texts, settings);
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = match outcome {
                Ok(label) => {
                    let line = serde_json::to_string(&label).map_err(std::io::Error::other);
                    let result = line.and_then(|line| writeln!(written.0, "{line}"));
                    written.1.push(label);
                    watch.advanced(1);
                    result.err().map(|cause| LabelError::Other(io("write")(cause)))
                }
                Err(error) => Some(LabelError::Endpoint {
                    error,
                    feature: *feature,
                    file: path.display().to_string(),
                }),
            };
            if let Some(failure) = failure {
                stop.store(true, Ordering::Relaxed);
                written.2.get_or_insert(failure);
            }
        }
    };
    // Threads of their own: they wait for the network, and would keep the others from computing.
    std::thread::scope(|scope| {
        for _ in 0..settings.at_a_time.max(1) {
            scope.spawn(work);
        }
    });
    let (_, made, failure) = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    labels.extend(made.into_iter().map(|label| (label.feature, label)));
    match failure {
        Some(failure) => Err(failure),
        None if watch.should_stop() => Err(InterpretationError::Stopped {
            done: labels.len() as u64,
            total: features.len() as u64,
        }
        .into()),
        None => Ok(labels),
    }
}

/// The labels of a file; none if there is no file. A last line that was cut off is cut away; a feature's last label counts.
///
/// # Errors
/// [`InterpretationError::Line`] for any other damage, [`InterpretationError::Io`].
pub fn read_labels(path: &Path) -> Result<BTreeMap<u32, FeatureLabel>> {
    let io = |action, cause| InterpretationError::Io {
        action,
        path: path.to_path_buf(),
        cause,
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(cause) => return Err(io("read", cause)),
    };
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|cause| io("open", cause))?;
        file.set_len(whole as u64).map_err(|cause| io("shorten", cause))?;
    }
    let mut labels = BTreeMap::new();
    for (line, text) in (1..).zip(bytes[..whole].split(|byte| *byte == b'\n')) {
        if text.is_empty() {
            continue;
        }
        let label: FeatureLabel =
            serde_json::from_slice(text).map_err(|cause| InterpretationError::Line {
                path: path.to_path_buf(),
                line,
                what: format!(
                    "no label of this program ({cause}); remove the line, or the file to begin again"
                ),
            })?;
        labels.insert(label.feature, label);
    }
    Ok(labels)
}

/// A text to be judged, and whether the answer should be yes.
struct Example<'a> {
    context: &'a Context,
    is_positive: bool,
    marked: Vec<bool>,
}

/// What will be asked about one feature.
struct Plan<'a> {
    shown: Vec<&'a Context>,
    detection: Vec<Example<'a>>,
    fuzzing: Vec<Example<'a>>,
}

impl<'a> Plan<'a> {
    fn new(
        feature: &'a FeatureReport,
        background: &'a [BackgroundContext],
        settings: &LabelSettings,
    ) -> Self {
        let mut counter = 0;
        let mut random = |bound: usize| {
            counter += 1;
            let stream = EXAMPLE_STREAM ^ (u64::from(feature.feature) << 20);
            ((u128::from(priority(settings.seed, stream, counter)) * bound as u128) >> 64) as usize
        };
        // Every second context from the top is shown, the others and those of the intervals are kept for the scores.
        let top = &feature.top_contexts;
        let shown: Vec<&Context> = top.iter().step_by(2).take(settings.explained_from).collect();
        let mut unseen: Vec<&Context> = top.iter().skip(1).step_by(2).collect();
        for context in feature.intervals.iter().flat_map(|interval| &interval.contexts) {
            if !shown.iter().chain(&unseen).any(|other| other.same_text(context)) {
                unseen.push(context);
            }
        }
        shuffle(&mut unseen, &mut random);
        unseen.truncate(settings.scored_on);
        let mut silent: Vec<&Context> = background
            .iter()
            .filter(|other| other.active.binary_search(&feature.feature).is_err())
            .map(|other| &other.context)
            .collect();
        shuffle(&mut silent, &mut random);
        silent.truncate(unseen.len());
        // Balanced sets: as many of one kind as of the other.
        unseen.truncate(silent.len());
        let positive = |context: &&'a Context| Example {
            context,
            is_positive: true,
            marked: active_tokens(context),
        };
        let mut detection: Vec<Example<'a>> = unseen.iter().map(positive).collect();
        let mut fuzzing: Vec<Example<'a>> = unseen.iter().map(positive).collect();
        for (context, partner) in silent.iter().zip(&unseen) {
            let none = vec![false; context.tokens.len()];
            detection.push(Example {
                context,
                is_positive: false,
                marked: none.clone(),
            });
            let mut marked = none;
            let count = active_tokens(partner).iter().filter(|active| **active).count();
            // Without replacement, so that as many are marked as in the partner.
            let mut places: Vec<usize> = (0..marked.len()).collect();
            for taken in 0..count.min(places.len()) {
                let other = taken + random(places.len() - taken);
                places.swap(taken, other);
                marked[places[taken]] = true;
            }
            fuzzing.push(Example {
                context,
                is_positive: false,
                marked,
            });
        }
        shuffle(&mut detection, &mut random);
        shuffle(&mut fuzzing, &mut random);
        Self {
            shown,
            detection,
            fuzzing,
        }
    }

    fn key(&self, endpoint: &dyn Endpoint, texts: &TokenTexts, settings: &LabelSettings) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        add(&endpoint.name());
        add(&format!("{PROMPT_VERSION} {}", settings.texts_per_question));
        for message in explanation(&self.shown, texts) {
            add(&message.content);
        }
        for example in self.detection.iter().chain(&self.fuzzing) {
            add(&marked(example.context, texts, |i| example.marked[i]));
            add(if example.is_positive { "1" } else { "0" });
        }
        hasher.finalize().to_hex().to_string()
    }

    fn label(
        &self,
        endpoint: &dyn Endpoint,
        feature: u32,
        key: &str,
        texts: &TokenTexts,
        settings: &LabelSettings,
    ) -> std::result::Result<FeatureLabel, EndpointError> {
        let mut exchanges = Vec::new();
        let mut ask = |messages: Vec<Message>| -> std::result::Result<String, EndpointError> {
            let answer = endpoint.answer(&messages)?;
            exchanges.push(Exchange {
                messages,
                answer: answer.clone(),
            });
            Ok(answer)
        };
        let label = parse_explanation(&ask(explanation(&self.shown, texts))?);
        let mut scores = [None, None];
        if let Some(label) = &label {
            let kinds: [(&[Example<'_>], bool); 2] = [(&self.detection, false), (&self.fuzzing, true)];
            for ((examples, is_fuzzing), score) in kinds.into_iter().zip(&mut scores) {
                let (mut right, mut judged, mut unread) = (0, 0, 0);
                for examples in examples.chunks(settings.texts_per_question.max(1)) {
                    let shown: Vec<String> = examples
                        .iter()
                        .map(|example| match is_fuzzing {
                            true => marked(example.context, texts, |i| example.marked[i]),
                            false => plain(example.context, texts),
                        })
                        .collect();
                    let question = match is_fuzzing {
                        true => fuzzing(label, &shown),
                        false => detection(label, &shown),
                    };
                    match parse_judgements(&ask(question)?, examples.len()) {
                        None => unread += examples.len() as u64,
                        Some(answers) => {
                            judged += answers.len() as u64;
                            let pairs = answers.iter().zip(examples);
                            right += pairs
                                .filter(|(answer, example)| **answer == example.is_positive)
                                .count() as u64;
                        }
                    }
                }
                *score = (!examples.is_empty()).then(|| LabelScore::new(right, judged, unread));
            }
        }
        let [detection, fuzzing] = scores;
        Ok(FeatureLabel {
            feature,
            key: key.to_owned(),
            endpoint: endpoint.name(),
            label,
            detection,
            fuzzing,
            exchanges,
        })
    }
}

impl LabelScore {
    fn new(right: u64, judged: u64, unread: u64) -> Self {
        let proportion = Proportion::new(right, judged).ok();
        let interval = proportion.and_then(|proportion| wilson_interval(&proportion, Confidence::P95).ok());
        Self {
            right,
            judged,
            unread,
            accuracy: proportion.and_then(|proportion| proportion.estimate().ok()),
            low: interval.map(|interval| interval.lower),
            high: interval.map(|interval| interval.upper),
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], random: &mut impl FnMut(usize) -> usize) {
    for last in (1..items.len()).rev() {
        items.swap(last, random(last + 1));
    }
}
