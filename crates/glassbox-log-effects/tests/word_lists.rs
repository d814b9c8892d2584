//! Words on made-up logs whose truth is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{Draws, PLAIN, published};
use glassbox_log_effects::words::*;
use glassbox_log_effects::{CountSettings, Measure, Repeats, Verdict};
use glassbox_logs::{Logs, Unwatched};

fn reader(stem: bool) -> WordReader {
    WordReader::new(WordPattern::Study, WordForm { lower: true, stem }).unwrap()
}

fn read(path: &Path, settings: CountSettings<'_>, stem: bool) -> WordCells {
    let logs = Logs::find(&[path.to_path_buf()]).unwrap();
    WordCells::read(&logs, settings, &reader(stem), &Measure::Stop, &Unwatched).unwrap()
}

fn analysis(path: &Path, settings: &WordSettings) -> WordsAnalysis {
    analyse_words(
        &read(path, PLAIN, false),
        &reader(false),
        &Measure::Stop,
        settings,
        3,
    )
    .unwrap()
}

/// Six conditions; `extra` gives words besides the common ones, each with its probability in (feature, condition).
fn log(
    path: &Path,
    features: u32,
    trials: u32,
    seed: u64,
    extra: impl Fn(u32, &str) -> Vec<(&'static str, f64)>,
) {
    let mut draws = Draws(seed);
    let mut text = String::new();
    let common = [
        ("the", 0.9),
        ("slot", 0.5),
        ("machine", 0.4),
        ("win", 0.2),
        ("$10", 0.3),
        ("lucky", 0.05),
        ("round", 0.5),
    ];
    for feature in 0..features {
        for prompt in ["safe", "risky"] {
            for arm in ["baseline", "with_safe_patch", "with_risky_patch"] {
                let condition = format!("{prompt}_{arm}");
                for trial in 0..trials {
                    let mut response = String::new();
                    let extra = extra(feature, &condition);
                    for (word, probability) in common.iter().chain(&extra) {
                        if draws.uniform() < *probability {
                            // Said three times: it counts once.
                            write!(response, "{word} {word}, {word}. ").unwrap();
                        }
                    }
                    let action = if response.contains("lucky") == (draws.uniform() < 0.8) {
                        "bet"
                    } else {
                        "stop"
                    };
                    writeln!(
                        text,
                        "{{\"feature\":\"L4-{feature}\",\"condition\":\"{condition}\",\"trial\":{trial},\"response\":\"{response}\",\
                         \"parsed\":{{\"action\":\"{action}\",\"bet\":0,\"valid\":true}}}}"
                    )
                    .unwrap();
                }
            }
        }
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_word_that_a_value_adds_is_found_where_it_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    log(&path, 20, 60, 1, |feature, condition| {
        match (feature, condition) {
            (3, "risky_with_risky_patch") => vec![("gamble", 0.6)],
            (3, _) => vec![("gamble", 0.05)],
            // Everything that intervenes brings this word.
            (_, condition) if condition.ends_with("patch") => vec![("odd", 0.5), ("gamble", 0.05)],
            _ => vec![("odd", 0.1), ("gamble", 0.05)],
        }
    });
    let found = analysis(&path, &WordSettings::default());
    assert_eq!(found.verdict, Verdict::SpecificEffect, "{}", found.words);
    let by_value: Vec<&LogWordRow> = found
        .rows
        .iter()
        .filter(|row| row.comparison == "value_b_vs_value_a" && row.q.unwrap() <= 0.05)
        .collect();
    let row = by_value[0];
    assert_eq!(
        (
            by_value.len(),
            row.feature,
            row.prompt.as_str(),
            row.word.as_str(),
            row.change.as_str()
        ),
        (1, 3, "risky", "gamble", "added"),
        "{by_value:?}"
    );
    assert!(row.ci_low.unwrap() > 1.0 && row.z.unwrap() > 4.0 && (row.n_1, row.n_2) == (60, 60));
    assert!(row.responses_2 <= 60, "counted once per response");
    // Against the pooled baseline the shared word stands out for nearly every feature, under the study's names.
    let odd: Vec<&LogWordRow> = found
        .rows
        .iter()
        .filter(|row| {
            row.word == "odd" && row.study_name.as_deref() == Some("safe_feature") && row.q.unwrap() <= 0.05
        })
        .collect();
    assert!(odd.len() >= 15, "{}", odd.len());
    assert!(
        odd.iter()
            .all(|row| row.prompt == "risky" && row.n_1 == 1200 && row.change == "added")
    );
    // The word that goes with the outcome in every condition.
    let lucky = found.presence.iter().find(|row| row.word == "lucky").unwrap();
    assert!(
        lucky.q < 1e-6 && lucky.odds_high.unwrap() < 0.5 && lucky.rate_present < lucky.rate_absent,
        "{lucky:?}"
    );
    let round = found.presence.iter().find(|row| row.word == "round");
    assert!(round.is_none_or(|row| row.q > 0.01), "{round:?}");
}

#[test]
fn words_that_both_values_bring_are_a_shared_shift() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    log(&path, 10, 50, 2, |_, condition| {
        vec![("odd", if condition.ends_with("patch") { 0.5 } else { 0.05 })]
    });
    let found = analysis(&path, &WordSettings::default());
    assert_eq!(found.verdict, Verdict::SharedShiftOnly, "{}", found.words);
    log(&path, 10, 50, 3, |_, _| vec![]);
    let none = analysis(&path, &WordSettings::default());
    assert_eq!(none.verdict, Verdict::CannotTell, "{}", none.words);
}

#[test]
fn chance_alone_seldom_finds_a_word_and_p_values_stay_at_their_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let (mut found, mut p_values) = (0, Vec::new());
    let runs = 60;
    for run in 0..runs {
        log(&path, 6, 40, 500 + run, |_, _| {
            vec![("rare", 0.03), ("seldom", 0.01)]
        });
        let result = analyse_words(
            &read(&path, PLAIN, false),
            &reader(false),
            &Measure::Stop,
            &WordSettings::default(),
            100,
        )
        .unwrap();
        let rows = result
            .rows
            .iter()
            .filter(|row| row.comparison == "value_b_vs_value_a");
        found += u64::from(rows.clone().any(|row| row.q.unwrap() <= 0.05));
        p_values.extend(rows.map(|row| row.p));
    }
    assert!(
        found as f64 / runs as f64 <= 0.05 + 2.0 * (0.05_f64 * 0.95 / runs as f64).sqrt(),
        "{found}"
    );
    for alpha in [0.01, 0.05, 0.1] {
        let share = p_values.iter().filter(|p| **p <= alpha).count() as f64 / p_values.len() as f64;
        let se = (alpha * (1.0 - alpha) / p_values.len() as f64).sqrt();
        assert!(
            share <= alpha + 2.0 * se,
            "{alpha}: {share} of {}",
            p_values.len()
        );
    }
}

#[test]
fn words_are_counted_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let row = |trial: u32, text: &str, action: &str| {
        format!(
            "{{\"feature\":\"L9-1\",\"condition\":\"safe_baseline\",\"trial\":{trial},\"response\":\"{text}\",\"parsed\":{{\"action\":\"{action}\",\"bet\":5,\"valid\":true}}}}\n"
        )
    };
    let text = row(0, "Bet bets betting bet", "bet")
        + &row(1, "bet $5", "stop")
        + &row(1, "never seen", "stop")
        + &row(2, "stop", "unknown");
    std::fs::write(&path, text).unwrap();
    let plain = read(&path, PLAIN, false);
    assert_eq!(
        plain
            .words
            .iter()
            .filter(|w| *w != "never" && *w != "seen")
            .collect::<Vec<_>>(),
        ["$5", "bet", "bets", "betting", "stop"]
    );
    let cell = plain.cells.values().next().unwrap();
    assert_eq!((cell.responses, cell.tokens), (3, 7));
    let bet = plain.words.iter().position(|word| word == "bet").unwrap() as u32;
    assert_eq!((cell.count(bet).responses, cell.count(bet).tokens), (2, 3));
    let stemmed = read(&path, PLAIN, true);
    let cell = stemmed.cells.values().next().unwrap();
    let bet = stemmed.words.iter().position(|word| word == "bet").unwrap() as u32;
    assert_eq!((cell.count(bet).responses, cell.count(bet).tokens), (2, 5));
    let all = read(
        &path,
        CountSettings {
            repeats: Repeats::All,
            ..PLAIN
        },
        false,
    );
    assert_eq!(all.responses(), 4);
    // TF-IDF by hand: `bet` is 3 of 7 words, in 2 of 3 responses.
    let settings = WordSettings {
        fewest_responses: 1,
        ..WordSettings::default()
    };
    let analysed = analyse_words(&plain, &reader(false), &Measure::Stop, &settings, 20).unwrap();
    let share = analysed.views[0]
        .by_tf_idf
        .iter()
        .find(|share| share.word == "bet")
        .unwrap();
    assert!((share.frequency - 3.0 / 7.0).abs() < 1e-15);
    assert!((share.tf_idf - 3.0 / 7.0 * ((4.0_f64 / 3.0).ln() + 1.0)).abs() < 1e-12);
    // Presence among the two trials of known outcome.
    let five = analysed.presence.iter().find(|row| row.word == "$5").unwrap();
    assert_eq!(
        (five.present, five.absent, five.rate_present, five.rate_absent),
        (1, 1, 1.0, 0.0)
    );
}

#[test]
fn the_studys_method_gives_its_lists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    log(&path, 2, 60, 7, |feature, condition| match (feature, condition) {
        (1, "safe_with_risky_patch") => vec![("gamble", 0.8)],
        _ => vec![],
    });
    let settings = WordSettings {
        method: WordMethod::Study,
        ..WordSettings::default()
    };
    let found = analysis(&path, &settings);
    let row = found
        .rows
        .iter()
        .find(|row| row.word == "gamble" && row.study_name.as_deref() == Some("risky_feature"))
        .unwrap();
    // ln((f₁ + .001)/(0 + .001)) with f₁ = said / all words said in the condition.
    let cells = read(&path, PLAIN, false);
    let tokens = cells
        .cells
        .iter()
        .find(|(key, _)| {
            key.feature.unwrap().feature == 1 && key.prompt == "safe" && key.arm.name() == "value_b"
        })
        .unwrap()
        .1
        .tokens;
    let expected = ((row.responses_2 as f64 / tokens as f64 + 0.001) / 0.001).ln();
    assert!((row.log_odds - expected).abs() < 1e-12);
    assert_eq!((row.change.as_str(), row.responses_1, row.q), ("added", 0, None));
    assert!(
        found
            .rows
            .iter()
            .all(|row| row.log_odds.abs() > 0.5 && row.p < 0.05)
    );
}

#[test]
fn threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    log(&path, 8, 30, 11, |_, _| vec![("naïve", 0.2), ("한글", 0.1)]);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| analysis(&path, &WordSettings::default()))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn the_dose_scan_compares_high_with_low_doses() {
    let Some(path) = published("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let found = analysis(&path, &WordSettings::default());
    assert_eq!(found.responses, 12_600);
    assert_eq!(found.comparisons.len(), 1);
    assert_eq!(found.comparisons[0].comparison, "high_vs_low_doses");
    println!("{} {:?}", found.words, found.comparisons);
}
