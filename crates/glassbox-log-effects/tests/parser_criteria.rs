//! How many findings depend on the parser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::published;
use glassbox_log_effects::ParserCriterion;
use glassbox_logs::audit::{AuditSettings, Echo, Flips, audit};
use glassbox_logs::{Logs, Unwatched, parser_named};

/// Findings that flip between the scan parser and the first-line parser, by criterion.
fn flips(path: &Path) -> Vec<Flips> {
    let settings = AuditSettings {
        compare: Some([parser_named("scan").unwrap(), parser_named("b-complete").unwrap()]),
        ..AuditSettings::new(Echo::study().unwrap())
    };
    let logs = Logs::find(&[path.to_path_buf()]).unwrap();
    let report = audit(
        &logs,
        &settings,
        &|analysis| ParserCriterion::of(analysis),
        &Unwatched,
    )
    .unwrap();
    report.comparison.unwrap().flips
}

#[test]
fn an_echo_makes_a_finding() {
    // The first line says what the model chose; an echo makes the scan parser see stops under the safe patch.
    let conditions = [
        "safe_baseline",
        "safe_with_safe_patch",
        "safe_with_risky_patch",
        "risky_baseline",
        "risky_with_safe_patch",
        "risky_with_risky_patch",
    ];
    let mut text = String::new();
    for condition in conditions {
        for trial in 0..30 {
            let response = match (condition, trial) {
                (_, 0..10) => "2\\n".to_owned(),
                ("safe_with_safe_patch", 10..25) => format!("1\\n{trial}\\n2) Stop"),
                (_, trial) => format!("1\\nAmount: ${trial}"),
            };
            writeln!(
                text,
                r#"{{"feature": "L9-456", "condition": "{condition}", "trial": {trial}, "response": "{response}"}}"#
            )
            .unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    std::fs::write(&path, text).unwrap();
    let flips = flips(&path);
    for flips in &flips {
        assert_eq!(
            (flips.tested, flips.first, flips.second, flips.flipped),
            (1, 1, 0, 1),
            "{flips:?}"
        );
        assert_eq!(flips.only_first, ["L9-456"]);
    }
    assert_eq!(flips.len(), 2);
}

#[test]
fn the_published_doses_have_no_trend_with_either_parser() {
    let Some(path) = published("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let flips = flips(&path);
    let corrected = flips
        .iter()
        .find(|flips| flips.criterion.contains("q <"))
        .unwrap();
    assert_eq!(
        (
            corrected.tested,
            corrected.first,
            corrected.second,
            corrected.flipped
        ),
        (30, 0, 0, 0)
    );
    // Uncorrected, about one in twenty of thirty features is expected by chance.
    let plain = flips
        .iter()
        .find(|flips| flips.criterion.contains("p <"))
        .unwrap();
    assert!(plain.first <= 3 && plain.second <= 3, "{plain:?}");
}
