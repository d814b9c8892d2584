//! A study's design as a scenario for the random model: what the whole job and the ablation run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use glassbox_experiment::error::ExperimentError;
use glassbox_experiment::events::{Event, Reporter};
use glassbox_experiment::run::{RunRequest, run};
use glassbox_experiment::scenario::Scenario;

use crate::bench_peers::inputs;

/// Words of a prompt; the model's beginning-of-sequence token comes before them.
const WORDS: usize = 99;
/// The beginning-of-sequence token.
const BEGIN: u32 = 1;
/// Features recorded per block.
pub const RECORDED: u32 = 232;
/// New tokens at most.
pub const NEW_TOKENS: usize = 100;
/// Softmax temperature.
pub const TEMPERATURE: f64 = 0.7;
/// Nucleus.
pub const TOP_P: f64 = 0.9;

/// How large a design is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Design {
    /// Features that are set to two values each.
    pub features: u32,
    /// Trials of every prompt and condition.
    pub trials: u32,
}

impl Design {
    /// Trials that the studies ran for it: two prompts, each with a baseline of its own and two values for every feature.
    pub fn study_trials(self) -> u32 {
        self.features * 6 * self.trials
    }

    /// Trials that a comparison needs: the baseline once per prompt.
    pub fn pooled_trials(self) -> u32 {
        2 * (1 + 2 * self.features) * self.trials
    }

    /// The features, spread over all blocks.
    pub fn names(self) -> Vec<String> {
        let ids = inputs::features(self.features);
        let blocks = (0..inputs::BLOCKS).cycle();
        ids.iter()
            .zip(blocks)
            .map(|(id, block)| format!("L{block}-{id}"))
            .collect()
    }
}

/// When the parser reads an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidesAt {
    /// At the 20th token, by whether its number is even.
    TwentiethToken,
    /// At the first token whose number ends in a 7 after an even digit, which is one in twenty.
    AnyTokenOneInTwenty,
}

impl DecidesAt {
    /// Patterns of the outcomes even and odd.
    fn patterns(self) -> [&'static str; 2] {
        match self {
            Self::TwentiethToken => [r"^(?:w\d+ ){19}w\d*[02468] ", r"^(?:w\d+ ){19}w\d*[13579] "],
            Self::AnyTokenOneInTwenty => [
                r"^(?:w(?:\d|\d*(?:[13579]\d|[02468][0-689])) )*w\d*[048]7 ",
                r"^(?:w(?:\d|\d*(?:[13579]\d|[02468][0-689])) )*w\d*[26]7 ",
            ],
        }
    }
}

/// Token ids of the prompt of family 0 or 1.
pub fn prompt(family: u64) -> Vec<u32> {
    let mut ids = vec![BEGIN];
    ids.extend(inputs::tokens(10 + family, WORDS));
    ids
}

/// The prompt as text: token i is the word `wi` with a space after it.
fn text(family: u64) -> String {
    prompt(family)[1..].iter().fold(String::new(), |mut text, id| {
        let _ = write!(text, "w{id} ");
        text
    })
}

/// Writes the scenario of a design. `sweep` are more lines of its sweep section.
///
/// # Errors
/// If the file can't be written, or is no valid scenario.
pub fn scenario(
    data: &Path,
    name: &str,
    design: Design,
    decides_at: DecidesAt,
    sweep: &str,
) -> Result<Scenario> {
    let [even, odd] = decides_at.patterns();
    let quoted = |names: Vec<String>| format!("{names:?}");
    let recorded = (0..inputs::BLOCKS)
        .flat_map(|block| {
            inputs::features(RECORDED)
                .into_iter()
                .map(move |id| format!("L{block}-{id}"))
        })
        .collect();
    let text = format!(
        r#"
name = "{name}"
model = {model:?}
dictionaries = {dictionaries:?}
[outcome]
choices = ["even", "odd"]
target = "even"
[parser]
name = "test"
version = 1
[[parser.rules]]
pattern = '{even}'
outcome = "even"
[[parser.rules]]
pattern = '{odd}'
outcome = "odd"
[[families]]
name = "a"
prompt = "{a}"
[[families]]
name = "b"
prompt = "{b}"
[select]
features = {features}
[sweep]
trials = {trials}
max_new_tokens = {NEW_TOKENS}
temperature = {TEMPERATURE}
top_p = {TOP_P}
controls_per_feature = 0
record = "listed"
recorded_features = {recorded}
{sweep}
"#,
        model = data.join(inputs::MODEL),
        dictionaries = data.join(inputs::DICTIONARIES),
        a = text(0),
        b = text(1),
        features = quoted(design.names()),
        trials = design.trials,
        recorded = quoted(recorded),
    );
    let file = data.join(format!("{name}.toml"));
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(Scenario::read(&file)?)
}

/// What a run to the causal table took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Seconds from the start, loading included, to the finished causal table.
    pub seconds: f64,
    /// Seconds of the sweep alone.
    pub sweep_seconds: f64,
    /// Trials of the sweep.
    pub trials: u64,
    /// Tokens that they generated.
    pub tokens: u64,
}

/// Runs a scenario by the program's normal way and stops after the causal table.
///
/// # Errors
/// The run's own.
pub fn run_to_causal_table(scenario: Scenario, out: PathBuf) -> Result<Measured> {
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("remove {}", out.display()))?;
    }
    let request = RunRequest {
        scenario,
        out: out.clone(),
        resume: false,
        pilot: None,
    };
    let watch = Watch::new();
    match run(&request, &watch) {
        Ok(_) | Err(ExperimentError::Interrupted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let seen = watch.seen();
    let Some(causal) = seen.causal else {
        bail!("the run ended before its causal table");
    };
    let table = out.join("causal.parquet");
    if !table.is_file() {
        bail!("the run left no {}", table.display());
    }
    std::fs::remove_dir_all(&out).with_context(|| format!("remove {}", out.display()))?;
    Ok(Measured {
        seconds: causal.as_secs_f64(),
        sweep_seconds: seen.sweep_seconds,
        trials: seen.trials,
        tokens: seen.tokens,
    })
}

/// Notes when stages end, and asks for a stop after the causal table.
struct Watch {
    begin: Instant,
    done: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    causal: Option<Duration>,
    sweep_seconds: f64,
    trials: u64,
    tokens: u64,
}

impl Watch {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            done: AtomicBool::new(false),
            seen: Mutex::new(Seen::default()),
        }
    }

    fn seen(&self) -> Seen {
        *self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Reporter for Watch {
    fn report(&self, event: Event) {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::Advanced {
                stage: "sweep",
                units,
                tokens,
            } => {
                seen.trials += units;
                seen.tokens += tokens;
            }
            Event::StageFinished {
                stage: "sweep",
                seconds,
                ..
            } => seen.sweep_seconds = seconds,
            Event::StageFinished { stage: "causal", .. } => {
                seen.causal = Some(self.begin.elapsed());
                self.done.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn should_stop(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_study_has_the_trials_that_it_says() {
        let study = Design {
            features: 64,
            trials: 30,
        };
        assert_eq!((study.study_trials(), study.pooled_trials()), (11_520, 7_740));
        assert_eq!(study.names().len(), 64);
    }

    #[test]
    fn the_scenario_is_valid_and_its_parser_decides_at_the_twentieth_token() {
        let folder = tempfile::tempdir().unwrap();
        let design = Design {
            features: 2,
            trials: 1,
        };
        let scenario = scenario(
            folder.path(),
            "study",
            design,
            DecidesAt::TwentiethToken,
            "batch_rows = 7",
        )
        .unwrap();
        assert_eq!(scenario.sweep.batch_rows, 7);
        assert_eq!(
            scenario.sweep.recorded_features.len(),
            (RECORDED * inputs::BLOCKS) as usize
        );
        let parser = scenario.compiled_parser().unwrap();
        let words = |count: usize| "w11 ".repeat(count);
        assert_eq!(parser.parse(&words(19), None).label, "unknown");
        assert_eq!(parser.parse(&words(20), None).label, "odd");
        assert_eq!(
            parser.parse(&format!("{}w12 w13 ", words(19)), None).label,
            "even"
        );
    }

    #[test]
    fn the_other_parser_reads_the_first_word_that_ends_so() {
        let folder = tempfile::tempdir().unwrap();
        let design = Design {
            features: 2,
            trials: 1,
        };
        let decides = DecidesAt::AnyTokenOneInTwenty;
        let scenario = scenario(folder.path(), "study", design, decides, "").unwrap();
        let parser = scenario.compiled_parser().unwrap();
        for (text, expected) in [
            ("w5 w7 w17 w123 ", "unknown"),
            ("w5 w7 w17 w387 w327 ", "even"),
            ("w31927 w387 ", "odd"),
            ("w37 w31967", "unknown"),
        ] {
            assert_eq!(parser.parse(text, None).label, expected, "{text}");
        }
    }
}
