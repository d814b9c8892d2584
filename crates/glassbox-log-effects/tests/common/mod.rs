//! Logs that are made up, and the published files of the slot-machine study where they are at hand.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use glassbox_log_effects::{
    Attempts, CausalAnalysis, CausalSettings, Cells, CountSettings, OutcomeSource, Repeats, analyse,
};
use glassbox_logs::{Logs, Unwatched};

/// A file of the study's published data; `None` where the shared folder is not at hand.
pub fn published(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("GLASSBOX_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("data/slot-machine").join(name);
    path.is_file().then_some(path)
}

/// Counts as the command line does when nothing is asked for.
pub const PLAIN: CountSettings<'static> = CountSettings {
    outcomes: OutcomeSource::Recorded,
    repeats: Repeats::First,
    attempts: Attempts::First,
};

pub fn cells(path: &Path, settings: CountSettings<'_>) -> Cells {
    Cells::read(&Logs::find(&[path.to_path_buf()]).unwrap(), settings, &Unwatched).unwrap()
}

pub fn analysis(path: &Path) -> CausalAnalysis {
    analyse(&cells(path, PLAIN), &CausalSettings::default()).unwrap()
}

/// A generator of numbers that is the same everywhere.
pub struct Draws(pub u64);

impl Draws {
    pub fn uniform(&mut self) -> f64 {
        // SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How trials of one feature under one condition behave.
#[derive(Clone, Copy)]
pub struct Behaviour {
    pub stop: f64,
    pub high: f64,
}

/// A response log of the study's six conditions; `behaviour` gives the rates of (feature number, condition).
pub fn six_conditions(
    path: &Path,
    features: u32,
    trials: u32,
    seed: u64,
    behaviour: impl Fn(u32, &str) -> Behaviour,
) {
    let mut draws = Draws(seed);
    let mut text = String::from("[");
    for feature in 0..features {
        for prompt in ["safe", "risky"] {
            for arm in ["baseline", "with_safe_patch", "with_risky_patch"] {
                let condition = format!("{prompt}_{arm}");
                let Behaviour { stop, high } = behaviour(feature, &condition);
                for trial in 0..trials {
                    let (action, bet, response) = if draws.uniform() < stop {
                        ("stop", 0, "2\\n".to_owned())
                    } else {
                        let bet = if draws.uniform() < high { 50 } else { 10 };
                        ("bet", bet, format!("1\\nBet ${bet}"))
                    };
                    if text.len() > 1 {
                        text.push(',');
                    }
                    let layer = 5 + feature % 3;
                    write!(
                        text,
                        "\n{{\"feature\":\"L{layer}-{feature}\",\"condition\":\"{condition}\",\"trial\":{trial},\"response\":\"{response}\",\
                         \"parsed\":{{\"action\":\"{action}\",\"bet\":{bet},\"valid\":true}}}}"
                    )
                    .unwrap();
                }
            }
        }
    }
    text.push_str("\n]\n");
    std::fs::write(path, text).unwrap();
}
