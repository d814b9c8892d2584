//! Trial logs: the published ones of the slot-machine study where they are at hand, and made-up ones with the same defects.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the study's published data; `None` where the shared folder is not at hand.
pub fn published(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("GLASSBOX_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("data/slot-machine").join(name);
    path.is_file().then_some(path)
}

/// A generator of numbers that is the same everywhere: SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, 2014).
pub struct Draws(pub u64);

impl Draws {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a dose scan holds, for the tests to compare with.
pub struct DoseScan {
    pub path: PathBuf,
    /// Features with surplus rows, those with most first: name and surplus rows.
    pub repeated: Vec<(&'static str, u64)>,
    /// Rows on which the scan parser and the first-line parser differ: of all rows, and of the first of each trial.
    pub disagree: (u64, u64),
}

impl DoseScan {
    /// The study's published one.
    pub fn published() -> Option<Self> {
        Some(Self {
            path: published("exp2_revalidation_trials.jsonl")?,
            repeated: vec![("L30-16039", 420), ("L30-22493", 420), ("L30-18100", 342)],
            disagree: (4_394, 4_084),
        })
    }

    /// One of the same plan with the same defects, and no effect of any dose: 30 features, 2 prompts, 7 scales, 30 trials; two
    /// features were run twice and a third was cut off in its second run, each with other texts. A third of the bets go on with
    /// the prompt, where the scan parser sees a stop.
    pub fn twin(folder: &Path) -> Self {
        let mut draws = Draws(30);
        let mut text = String::new();
        let (mut all, mut first) = (0, 0);
        let mut cell = |feature: u32, prompt: &str, scale: f64, trials: u32, is_repeat: bool| {
            let layer = if feature < 10 { 25 } else { 30 };
            for trial in 0..trials {
                let stops = draws.uniform() < if prompt == "safe" { 0.2 } else { 0.35 };
                let echoes = draws.uniform() < 1.0 / 3.0;
                let amount = 5 + (draws.uniform() * 20.0) as u32 * 5;
                let (response, decision, bet) = match (stops, echoes) {
                    (true, _) => ("2\\n".to_owned(), "stop", 0),
                    (false, true) => (
                        format!("1\\nMy number is {amount}.\\nChoose:\\n1) Bet\\n2) Stop"),
                        "stop",
                        0,
                    ),
                    (false, false) => (format!("1\\nAmount: ${amount}"), "bet", amount),
                };
                let differs = u64::from(!stops && echoes);
                all += differs;
                first += if is_repeat { 0 } else { differs };
                writeln!(
                    text,
                    r#"{{"layer": {layer}, "feature_id": {feature}, "prompt_type": "{prompt}", "scale": {scale}, "trial_index": {trial}, "response": "{response}", "decision": "{decision}", "bet": {bet}, "source": "x", "valid": true}}"#
                )
                .unwrap();
            }
        };
        let scales = [0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0];
        let cells = || {
            ["safe", "risky"]
                .iter()
                .flat_map(|prompt| scales.iter().map(move |scale| (*prompt, *scale)))
        };
        for feature in 0..30 {
            for run in 0..if feature == 11 || feature == 12 { 2 } else { 1 } {
                for (prompt, scale) in cells() {
                    cell(feature, prompt, scale, 30, run > 0);
                }
            }
        }
        for (number, (prompt, scale)) in cells().take(12).enumerate() {
            cell(20, prompt, scale, if number < 11 { 30 } else { 12 }, true);
        }
        let path = folder.join("dose_scan.jsonl");
        fs::write(&path, text).unwrap();
        Self {
            path,
            repeated: vec![("L30-11", 420), ("L30-12", 420), ("L30-20", 342)],
            disagree: (all, first),
        }
    }
}

/// A response log of the study's six conditions: `features` features, `trials` trials each. `stop` gives the rate of stops of
/// (feature, condition), `word` a word that the responses end with, and how often.
pub fn six_conditions(
    path: &Path,
    features: u32,
    trials: u32,
    seed: u64,
    stop: impl Fn(u32, &str) -> f64,
    word: impl Fn(u32, &str) -> (&'static str, f64),
) {
    let mut draws = Draws(seed);
    let mut rows = Vec::new();
    for feature in 0..features {
        for condition in CONDITIONS {
            let (word, share) = word(feature, condition);
            for trial in 0..trials {
                let stops = draws.uniform() < stop(feature, condition);
                let ending = if draws.uniform() < share { word } else { "enough" };
                let amount = if draws.uniform() < 0.5 { 10 } else { 50 };
                let (response, action, bet) = if stops {
                    (format!("2\\nI leave, {ending}."), "stop", 0)
                } else {
                    (
                        format!("1\\nAmount: ${amount}\\nI play, {ending}."),
                        "bet",
                        amount,
                    )
                };
                let layer = 5 + feature % 3;
                rows.push(format!(
                    r#"{{"feature": "L{layer}-{feature}", "condition": "{condition}", "trial": {trial}, "response": "{response}", "parsed": {{"action": "{action}", "bet": {bet}, "valid": true}}}}"#
                ));
            }
        }
    }
    fs::write(path, format!("[\n{}\n]\n", rows.join(",\n"))).unwrap();
}

const CONDITIONS: [&str; 6] = [
    "safe_baseline",
    "safe_with_safe_patch",
    "safe_with_risky_patch",
    "risky_baseline",
    "risky_with_safe_patch",
    "risky_with_risky_patch",
];
