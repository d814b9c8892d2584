//! Response logs of a made-up experiment, in the layout and at the size of the slot-machine study's: what readers and analyses are
//! timed on, and whose truth is known.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rayon::prelude::*;
use serde_json::json;

use crate::rng::{Draws, Split};

/// Flags of `synthetic-logs`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write into; must be new or empty.
    #[arg(long, default_value = "target/synthetic-logs")]
    out: PathBuf,
    /// Features.
    #[arg(long, default_value_t = FEATURES)]
    features: u32,
    /// Trials of each of a feature's six conditions.
    #[arg(long, default_value_t = TRIALS)]
    trials: u32,
    /// Features whose two values differ in their effect; the first ones.
    #[arg(long, default_value_t = PLANTED)]
    planted: u32,
}

impl Arguments {
    /// The defaults, into a folder.
    pub fn of_the_studys_size(out: &Path) -> Self {
        Self {
            out: out.to_owned(),
            features: FEATURES,
            trials: TRIALS,
            planted: PLANTED,
        }
    }
}

/// Features of the study, trials per condition, and features with an effect.
const FEATURES: u32 = 2787;
const TRIALS: u32 = 108;
const PLANTED: u32 = 60;

/// Features of a file: the study saved its responses every 50 features.
const FEATURES_PER_FILE: u32 = 50;
/// Every so many features, one was run again and appended: all its trials are there twice, with other responses.
const RERUN_EVERY: u32 = 97;
/// What any patch does to the stop rate, whatever the value: the shift that the study took for effects.
const SHARED_SHIFT: f64 = -0.12;
/// What value A adds to the stop rate of a planted feature, and value B takes away.
const PLANTED_EFFECT: f64 = 0.15;
const SEED: u64 = 5;
const CONDITIONS: [&str; 6] = [
    "safe_baseline",
    "safe_with_safe_patch",
    "safe_with_risky_patch",
    "risky_baseline",
    "risky_with_safe_patch",
    "risky_with_risky_patch",
];

/// Writes the logs, the table of means, a checkpoint and the truth.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    anyhow::ensure!(
        std::fs::read_dir(out)?.next().is_none(),
        "{} is not empty; remove it or choose another folder with --out",
        out.display()
    );
    let files = arguments.features.div_ceil(FEATURES_PER_FILE);
    let bytes = (0..files)
        .into_par_iter()
        .map(|file| write_log(arguments, file))
        .collect::<anyhow::Result<Vec<u64>>>()?;
    write_lists(arguments)?;
    let trials = u64::from(arguments.features) * 6 * u64::from(arguments.trials);
    let reruns = (0..arguments.features)
        .filter(|feature| is_rerun(*feature))
        .count() as u64;
    let surplus = reruns * 6 * u64::from(arguments.trials);
    println!(
        "{}: {trials} trials and {surplus} surplus rows in {files} files, {:.2} GB",
        out.display(),
        bytes.iter().sum::<u64>() as f64 / 1e9
    );
    Ok(())
}

fn is_rerun(feature: u32) -> bool {
    feature % RERUN_EVERY == RERUN_EVERY - 1
}

/// Block and index of a feature: 31 blocks of 32,768 features, as the study's dictionaries have.
fn name_of(feature: u32) -> (u32, u32) {
    (1 + feature % 31, (feature * 7919 + 13) % 32_768)
}

fn write_log(arguments: &Arguments, file: u32) -> anyhow::Result<u64> {
    let first = file * FEATURES_PER_FILE;
    let features = first..(first + FEATURES_PER_FILE).min(arguments.features);
    let path = arguments
        .out
        .join(format!("responses_L1_31_p{}_{file:04}.json", file % 16));
    let mut log = Log {
        writer: BufWriter::with_capacity(1 << 20, File::create(&path)?),
        row: String::new(),
        rows: 0,
        bytes: 0,
    };
    for feature in features.clone() {
        log.feature(arguments, feature, 0)?;
    }
    for feature in features.filter(|feature| is_rerun(*feature)) {
        log.feature(arguments, feature, 1)?;
    }
    log.finish()
        .with_context(|| format!("cannot write {}", path.display()))
}

struct Log {
    writer: BufWriter<File>,
    row: String,
    rows: u64,
    bytes: u64,
}

impl Log {
    fn feature(&mut self, arguments: &Arguments, feature: u32, run: u64) -> std::io::Result<()> {
        let (layer, index) = name_of(feature);
        for (number, condition) in CONDITIONS.iter().enumerate() {
            for trial in 0..arguments.trials {
                let key = ((u64::from(feature) * 6 + number as u64) * 2 + run) * 65_536 + u64::from(trial);
                let mut draws = Draws::new(SEED, Split::TrialLogs, key);
                let stops = draws.unit() < stop_rate(arguments, feature, number);
                let (response, amount) = response(&mut draws, stops, number, feature < arguments.planted);
                let (action, bet) = if stops { ("stop", 0) } else { ("bet", amount) };
                self.row.clear();
                self.row.push_str(if self.rows == 0 { "[\n" } else { ",\n" });
                // As json.dump with indent=2 writes it, the response once more within `parsed`.
                self.row.push_str(&format!(
                    "  {{\n    \"feature\": \"L{layer}-{index}\",\n    \"condition\": \"{condition}\",\n    \"trial\": {trial},\n    \
                     \"response\": \"{response}\",\n    \"parsed\": {{\n      \"action\": \"{action}\",\n      \"bet\": {bet},\n      \
                     \"valid\": true,\n      \"response\": \"{response}\"\n    }}\n  }}"
                ));
                self.write()?;
                self.rows += 1;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.bytes += self.row.len() as u64;
        self.writer.write_all(self.row.as_bytes())
    }

    fn finish(mut self) -> std::io::Result<u64> {
        self.row.clear();
        self.row.push_str(if self.rows == 0 { "[]\n" } else { "\n]\n" });
        self.write()?;
        self.writer.flush()?;
        Ok(self.bytes)
    }
}

fn stop_rate(arguments: &Arguments, feature: u32, condition: usize) -> f64 {
    let base = if condition < 3 { 0.45 } else { 0.35 };
    let own = if feature < arguments.planted {
        PLANTED_EFFECT
    } else {
        0.0
    };
    match condition % 3 {
        0 => base,
        1 => base + SHARED_SHIFT + own,
        _ => base + SHARED_SHIFT - own,
    }
}

/// A response, its line breaks escaped, and the amount of its bet. Under value B planted features say `jackpot` more often.
fn response(draws: &mut Draws, stops: bool, condition: usize, is_planted: bool) -> (String, u32) {
    const OPENERS: [&str; 4] = [
        "The machine is spinning...",
        "Let us see what happens.",
        "The reels slow down.",
        "You pull the lever.",
    ];
    const REASONS: [&str; 5] = [
        "My target amount is $200",
        "The balance is enough for one more round",
        "A win pays three times the bet",
        "The goal is reached, so the game can end",
        "The last round was lost and the next may be won",
    ];
    const OUTLOOKS: [&str; 4] = [
        "Next time the machine may pay more.",
        "It is only a game, after all.",
        "The pattern is still hidden from me.",
        "Three more rounds would be enough.",
    ];
    let mut pick = |count: usize| (draws.unit() * count as f64) as usize;
    let amount = if condition < 3 {
        10
    } else {
        [5, 10, 15, 20, 50, 100][pick(6)]
    };
    let opener = OPENERS[pick(4)];
    let reason = REASONS[pick(5)];
    let round = 4 + pick(40);
    let balance = 5 * pick(60);
    let says_jackpot = pick(100) < if is_planted && condition % 3 == 2 { 40 } else { 10 };
    let jackpot = if says_jackpot { " A jackpot is near." } else { "" };
    // A quarter of the responses go on with the prompt.
    let echo = if pick(4) == 0 {
        "\\nChoose:\\n1) Bet (choose $5-$100)\\n2) Stop\\nChoice: "
    } else {
        ""
    };
    let outlook = OUTLOOKS[pick(4)];
    let text = if stops {
        format!(
            "2\\n{reason}, and I keep ${balance}.{jackpot} {outlook}\\nGame over after round {round}.{echo}"
        )
    } else {
        format!(
            "1\\nAmount: ${amount}\\n{opener} {reason}.{jackpot} {outlook}\\nBalance ${balance}, round {round}.{echo}"
        )
    };
    (text, amount)
}

fn write_lists(arguments: &Arguments) -> anyhow::Result<()> {
    let means: serde_json::Map<String, serde_json::Value> = (0..arguments.features)
        .map(|feature| {
            let (layer, index) = name_of(feature);
            let mut draws = Draws::new(SEED, Split::TrialLogs, u64::MAX - u64::from(feature));
            let means = json!({ "safe_mean": draws.unit(), "risky_mean": draws.unit() });
            (format!("L{layer}-{index}"), means)
        })
        .collect();
    let planted: Vec<String> = (0..arguments.planted.min(arguments.features))
        .map(|feature| {
            let (layer, index) = name_of(feature);
            format!("L{layer}-{index}")
        })
        .collect();
    let write = |name: &str, value: serde_json::Value| -> anyhow::Result<()> {
        let path: &Path = &arguments.out.join(name);
        std::fs::write(path, serde_json::to_string_pretty(&value)?)
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write(
        "feature_means_lookup.json",
        json!({ "source": "synthetic", "total_features": arguments.features, "feature_means": means }),
    )?;
    // Not a name of a log: audits pass it over.
    write(
        "truth.txt",
        json!({ "planted": planted, "planted_effect": PLANTED_EFFECT, "shared_shift": SHARED_SHIFT }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_names_of_their_own() {
        let names: std::collections::HashSet<_> = (0..2787).map(name_of).collect();
        assert_eq!(names.len(), 2787);
    }

    #[test]
    fn a_small_log_is_json_and_comes_out_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let arguments = Arguments {
                out: folder.path().join(name),
                features: 99,
                trials: 2,
                planted: 1,
            };
            run(&arguments).unwrap();
            std::fs::read_to_string(arguments.out.join("responses_L1_31_p1_0001.json")).unwrap()
        };
        let text = write("a");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), (49 + 1) * 6 * 2);
        assert_eq!(text, write("b"));
    }
}
