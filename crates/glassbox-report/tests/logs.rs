//! Pages about trial logs: whole, partial, empty and hostile ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sound;

use std::fmt::Write as _;
use std::path::Path;

use glassbox_log_effects::words::{
    WordForm, WordPattern, WordReader, WordSettings, WordsAnalysis, analyse_words,
};
use glassbox_log_effects::{
    Attempts, CausalAnalysis, CausalSettings, Cells, CountSettings, Measure, OutcomeSource, ParserCriterion,
    Repeats, StudyCriterion, Verdict, analyse,
};
use glassbox_logs::audit::{AuditReport, AuditSettings, Echo, audit};
use glassbox_logs::{Logs, Unwatched, parser_named};
use glassbox_report::{render_audit, render_causal, render_words};
use sound::assert_sound;

const COUNTS: CountSettings<'static> = CountSettings {
    outcomes: OutcomeSource::Recorded,
    repeats: Repeats::First,
    attempts: Attempts::First,
};

fn find(path: &Path) -> Logs {
    Logs::find(&[path.to_path_buf()]).unwrap()
}

fn causal(path: &Path) -> CausalAnalysis {
    let settings = CausalSettings {
        criterion: Some(StudyCriterion::StudyScan),
        ..CausalSettings::default()
    };
    analyse(&Cells::read(&find(path), COUNTS, &Unwatched).unwrap(), &settings).unwrap()
}

fn words(path: &Path, pattern: &str) -> WordsAnalysis {
    let pattern: WordPattern = pattern.parse().unwrap();
    let form = WordForm {
        lower: true,
        stem: false,
    };
    let reader = WordReader::new(pattern, form).unwrap();
    let cells = glassbox_log_effects::words::WordCells::read(
        &find(path),
        COUNTS,
        &reader,
        &Measure::Stop,
        &Unwatched,
    )
    .unwrap();
    analyse_words(&cells, &reader, &Measure::Stop, &WordSettings::default(), 4).unwrap()
}

fn audited(path: &Path) -> AuditReport {
    let settings = AuditSettings {
        compare: Some([parser_named("scan").unwrap(), parser_named("b-complete").unwrap()]),
        ..AuditSettings::new(Echo::study().unwrap())
    };
    audit(
        &find(path),
        &settings,
        &|analysis| ParserCriterion::of(analysis),
        &Unwatched,
    )
    .unwrap()
}

/// A share of `of` trials, spread evenly: the same in every run, and with no chance in it.
fn is_one_of(trial: u32, share: f64) -> bool {
    (f64::from(trial + 1) * share).floor() > (f64::from(trial) * share).floor()
}

/// Six conditions of four features: everything that intervenes shifts the stop rate, feature 3 acts by its value, and says
/// `jackpot` more often; a third of the bets go on with the prompt.
fn six_conditions(path: &Path) {
    let mut text = String::new();
    for feature in 0..4_u32 {
        for prompt in ["safe", "risky"] {
            for arm in ["baseline", "with_safe_patch", "with_risky_patch"] {
                let stop = match (feature, arm) {
                    (_, "baseline") => 0.3 + 0.01 * f64::from(feature),
                    (3, "with_safe_patch") => 0.85,
                    (3, _) => 0.35,
                    (_, "with_safe_patch") => 0.62 - 0.02 * f64::from(feature),
                    _ => 0.6 + 0.015 * f64::from(feature),
                };
                let jackpot = if (feature, arm) == (3, "with_risky_patch") {
                    0.7
                } else {
                    0.1
                };
                for trial in 0..60 {
                    let stops = is_one_of(trial, stop);
                    let word = if is_one_of(trial, jackpot) {
                        "jackpot"
                    } else {
                        "round"
                    };
                    let (response, action, bet) = match (stops, trial % 3) {
                        (true, _) => (format!("2\\nI leave this {word}."), "stop", 0),
                        (false, 0) => (format!("1\\nThe {word}.\\nChoose:\\n1) Bet\\n2) Stop"), "stop", 0),
                        (false, _) => (
                            format!("1\\nAmount: ${}\\nI play for the {word}.", 5 + trial),
                            "bet",
                            5 + trial,
                        ),
                    };
                    let layer = 5 + feature % 2;
                    writeln!(
                        text,
                        "{{\"feature\":\"L{layer}-{feature}\",\"condition\":\"{prompt}_{arm}\",\"trial\":{trial},\"response\":\"{response}\",\
                         \"parsed\":{{\"action\":\"{action}\",\"bet\":{bet},\"valid\":true}}}}"
                    )
                    .unwrap();
                }
            }
        }
    }
    // The first rows once more: a run that was appended.
    let again: Vec<&str> = text.lines().take(20).collect();
    let text = format!("{text}{}\n", again.join("\n"));
    std::fs::write(path, text).unwrap();
}

/// A dose scan of three features; the bets of the last rise with the dose.
fn doses(path: &Path) {
    let mut text = String::new();
    for feature in 0..3_u32 {
        for prompt in ["safe", "risky"] {
            for scale in [0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0] {
                for trial in 0..20 {
                    let stop = 0.4 - if feature == 2 { 0.15 * scale } else { 0.0 };
                    let stops = is_one_of(trial + 7 * feature, stop);
                    let amount = 10 + (trial * 7 + feature) % 30;
                    let (response, decision, bet) = if stops {
                        ("2\\n".to_owned(), "stop", 0)
                    } else {
                        (format!("1\\nAmount: ${amount}"), "bet", amount)
                    };
                    writeln!(
                        text,
                        "{{\"layer\":{},\"feature_id\":{feature},\"prompt_type\":\"{prompt}\",\"scale\":{scale},\"trial_index\":{trial},\
                         \"response\":\"{response}\",\"decision\":\"{decision}\",\"bet\":{bet},\"source\":\"x\",\"valid\":true}}",
                        25 + feature
                    )
                    .unwrap();
                }
            }
        }
    }
    std::fs::write(path, text).unwrap();
}

/// The drawings of a section, one element per line.
fn drawings(page: &str, id: &str) -> String {
    let start = page.find(&format!("<section id=\"{id}\">")).unwrap();
    let section = &page[start..start + page[start..].find("</section>").unwrap()];
    let mut drawn = String::new();
    for drawing in section.split("<div class=\"drawing\">").skip(1) {
        let end = drawing.find("</svg>").unwrap();
        drawn.push_str(&drawing[..end].replace("><", ">\n<"));
        drawn.push('\n');
    }
    drawn
}

#[test]
fn the_pages_of_six_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("responses.jsonl");
    six_conditions(&path);
    let effects = causal(&path);
    assert_eq!(effects.verdict, Verdict::SpecificEffect, "{}", effects.words);
    let page = render_causal(&effects, "responses.jsonl").unwrap();
    assert_sound(&page);
    for expected in [
        "<h1>responses.jsonl</h1>",
        "Specific effect: the value",
        "20 rows repeat a trial",
        "What both values do.",
        "both do the same",
        "Features that stand out, by layer and direction.",
        "The stop rate by prompt and arm.",
        "The study’s safe and risky features",
        "value B vs value A",
        "id=\"conditions\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("id=\"doses\""));
    insta::assert_snapshot!("layers", drawings(&page, "layers"));
    insta::assert_snapshot!("conditions", drawings(&page, "conditions"));

    let found = words(&path, "study");
    assert_eq!(found.verdict, Verdict::SpecificEffect, "{}", found.words);
    let page = render_words(&found, "responses.jsonl").unwrap();
    assert_sound(&page);
    for expected in [
        "jackpot",
        "Words that stand out.",
        "L6-3",
        "TF-IDF",
        "value B vs baseline",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    // Three comparisons of two prompts.
    assert_eq!(page.matches("Framed with a dot").count(), 6);
    let grids = drawings(&page, "grids");
    insta::assert_snapshot!("grid", &grids[..grids[1..].find("<svg").unwrap()]);

    let report = audited(&path);
    let page = render_audit(&report, "responses.jsonl").unwrap();
    assert_sound(&page);
    for expected in [
        "20 surplus rows",
        "scan@1",
        "b-complete@1",
        "Findings that flip",
        "safe/value_a",
        "response log",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    insta::assert_snapshot!("parsers", drawings(&page, "parsers"));
}

#[test]
fn the_pages_of_doses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.jsonl");
    doses(&path);
    let page = render_causal(&causal(&path), "scan.jsonl").unwrap();
    assert_sound(&page);
    assert!(page.contains("The features with the smallest p.") && page.contains("L27-2"));
    assert!(!page.contains("id=\"conditions\""));
    let curves = drawings(&page, "doses");
    insta::assert_snapshot!("curve", &curves[..curves[1..].find("<svg").unwrap()]);
    assert_sound(&render_words(&words(&path, "study"), "scan.jsonl").unwrap());
    assert_sound(&render_audit(&audited(&path), "scan.jsonl").unwrap());
}

#[test]
fn equal_logs_give_equal_bytes_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("responses.jsonl");
    six_conditions(&path);
    let pages = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            [
                render_causal(&causal(&path), "x").unwrap(),
                render_words(&words(&path, "study"), "x").unwrap(),
                render_audit(&audited(&path), "x").unwrap(),
            ]
        })
    };
    assert_eq!(pages(1), pages(3));
}

#[test]
fn logs_that_cannot_tell_have_pages_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // Rates without counts; stated effects; one arm alone; one trial.
    let rates = file(
        "rates.json",
        r#"{"features": [{"layer": 1, "feature_id": 2, "stop_rate_safe_safe": 0.0, "stop_rate_safe_risky": 0.0}]}"#,
    );
    let deltas = file(
        "deltas.jsonl",
        "{\"layer\": 1, \"feature_id\": 2, \"safe_stop_delta\": 0.1, \"risky_stop_delta\": 0.2}\n\
         {\"layer\": 1, \"feature_id\": 3, \"safe_stop_delta\": 0.2, \"risky_stop_delta\": null}\n\
         {\"layer\": 1, \"feature_id\": 4, \"safe_stop_delta\": 0.3, \"risky_stop_delta\": 0.3}\n",
    );
    let one = file(
        "one.jsonl",
        "{\"feature\": \"L1-2\", \"condition\": \"safe_with_safe_patch\", \"trial\": 0, \"response\": \"2\"}\n",
    );
    for path in [&rates, &deltas, &one] {
        let effects = causal(path);
        assert_eq!(effects.verdict, Verdict::CannotTell);
        let page = render_causal(&effects, "x").unwrap();
        assert_sound(&page);
        assert!(page.contains("The data cannot tell."));
        assert_sound(&render_audit(&audited(path), "x").unwrap());
    }
    assert!(
        render_causal(&causal(&deltas), "x")
            .unwrap()
            .contains("stop_delta")
    );
    assert_sound(&render_words(&words(&one, "study"), "x").unwrap());
    let empty = file("empty.json", "[]");
    let page = render_audit(&audited(&empty), "x").unwrap();
    assert_sound(&page);
    assert!(page.contains("the array is empty"), "the problem is shown");
}

#[test]
fn nothing_in_a_log_becomes_markup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("<b>&\u{202e}.jsonl");
    let mut text = String::new();
    for condition in [
        "safe_with_safe_patch",
        "safe_with_risky_patch",
        "<script>alert(1)</script>",
    ] {
        for trial in 0..30 {
            let word = if condition.ends_with("risky_patch") && trial > 3 {
                "<img/src=x>"
            } else {
                "</svg>"
            };
            writeln!(
                text,
                "{{\"feature\":\"L1-2\",\"condition\":\"{condition}\",\"trial\":{trial},\"response\":\"{word} \\u202e {trial}\",\
                 \"parsed\":{{\"action\":\"<i>{}\",\"valid\":true}}}}",
                trial % 2
            )
            .unwrap();
        }
    }
    std::fs::write(&path, text).unwrap();
    let title = path.file_name().unwrap().to_str().unwrap();
    for page in [
        render_causal(&causal(&path), title).unwrap(),
        render_words(&words(&path, "\\S+"), title).unwrap(),
        render_audit(&audited(&path), title).unwrap(),
    ] {
        assert_sound(&page);
        for raw in ["<script>alert", "<img", "<i>", "<h1><b>", "\u{202e}"] {
            assert!(!page.contains(raw), "{raw}");
        }
        assert!(page.contains(".jsonl</h1>"));
    }
}
