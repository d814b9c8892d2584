//! The result as a terminal table and as Markdown.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::bench_peers::outcome::Outcome;
use crate::marked_place;

/// A number with three significant digits.
fn rate(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A ratio, with a third decimal where it is about small differences.
fn ratio(value: f64) -> String {
    if value < 2.0 {
        format!("{value:.3}")
    } else {
        rate(value)
    }
}

fn target(outcome: &Outcome) -> String {
    let sign = if outcome.target_is == "at most" {
        "≤"
    } else {
        "≥"
    };
    format!("{sign} {}", outcome.target)
}

fn reached(outcome: &Outcome) -> &'static str {
    if outcome.reached { "yes" } else { "no" }
}

/// The interval, where there is more than one pair to tell it from.
fn interval(outcome: &Outcome) -> String {
    if outcome.pairs < 2 {
        return "one pair".to_owned();
    }
    format!("{} to {}", ratio(outcome.interval[0]), ratio(outcome.interval[1]))
}

/// One outcome in one line.
pub fn line(outcome: &Outcome) -> String {
    format!(
        "{}: {} against {} {}, ratio {} [{}], target {}, reached: {}",
        outcome.work,
        rate(outcome.glassbox),
        rate(outcome.peer),
        outcome.unit,
        ratio(outcome.ratio),
        interval(outcome),
        target(outcome),
        reached(outcome)
    )
}

/// All outcomes, for a terminal.
pub fn terminal(outcomes: &[Outcome]) -> String {
    let header = [
        "work", "unit", "glassbox", "peer", "ratio", "interval", "target", "reached", "pairs",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(outcomes.iter().map(|outcome| {
        [
            outcome.work.clone(),
            outcome.unit.to_owned(),
            rate(outcome.glassbox),
            rate(outcome.peer),
            ratio(outcome.ratio),
            interval(outcome),
            target(outcome),
            reached(outcome).to_owned(),
            outcome.pairs.to_string(),
        ]
    }));
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0);
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    for outcome in outcomes {
        let _ = writeln!(text, "{} against {}", outcome.work, outcome.peer_name);
        let _ = writeln!(text, "  check: {}", outcome.check);
        if !outcome.note.is_empty() {
            let _ = writeln!(text, "  note: {}", outcome.note);
        }
    }
    text
}

/// All outcomes as Markdown.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    if let Some(first) = outcomes.first() {
        let _ = writeln!(
            text,
            "{}; {} threads on both sides.\n",
            first.machine, first.threads
        );
    }
    text.push_str("| work | glassbox | peer | unit | ratio (interval) | target | reached | pairs |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for outcome in outcomes {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} ({}) | {} | {} ({} to {}) | {} | {} | {} |",
            outcome.work,
            rate(outcome.glassbox),
            rate(outcome.peer),
            outcome.peer_name,
            outcome.unit,
            ratio(outcome.ratio),
            ratio(outcome.interval[0]),
            ratio(outcome.interval[1]),
            target(outcome),
            reached(outcome),
            outcome.pairs
        );
    }
    text.push('\n');
    for outcome in outcomes {
        let _ = write!(text, "- `{}`: {}.", outcome.work, outcome.check);
        if !outcome.note.is_empty() {
            let _ = write!(text, " {}.", outcome.note.trim_end_matches('.'));
        }
        text.push('\n');
    }
    if let Some(load) = outcomes.first().and_then(|outcome| outcome.load_before) {
        let _ = writeln!(text, "\nLoad of the machine in the minute before: {load}.");
    }
    let mut versions: Vec<&str> = outcomes.iter().map(|outcome| outcome.versions.as_str()).collect();
    versions.dedup();
    let _ = writeln!(text, "\nVersions: {}.", versions.join("; "));
    text
}

/// Replaces the marked place of a Markdown file by the table.
///
/// # Errors
/// If the file can't be read or written, or has no marked place.
pub fn put_into(file: &Path, outcomes: &[Outcome]) -> Result<()> {
    marked_place::fill(file, "bench-peers", &markdown(outcomes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_peers::measurement::Pair;
    use crate::bench_peers::outcome::Measured;
    use crate::bench_peers::work::Work;

    fn outcome() -> Outcome {
        let measured = Measured {
            pairs: vec![Pair {
                glassbox: 1.0,
                peer: 2.0,
            }],
            units: (64.0, 64.0),
            check: "64 greedy tokens equal".into(),
            note: "a note".into(),
            versions: "glassbox 1; torch 2".into(),
            machine: "a processor".into(),
            threads: 2,
            load_before: Some(0.0),
        };
        Outcome::new(Work::Decode1, measured).unwrap()
    }

    #[test]
    fn the_marked_place_alone_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("benchmarks.md");
        std::fs::write(
            &file,
            "before\n<!-- bench-peers: begin -->\nold\n<!-- bench-peers: end -->\nafter\n",
        )
        .unwrap();
        put_into(&file, &[outcome()]).unwrap();
        put_into(&file, &[outcome()]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with("after\n"),
            "{text}"
        );
        assert!(!text.contains("old"));
        assert_eq!(text.matches("`decode_1` | 64.0 | 32.0").count(), 1, "{text}");
    }

    #[test]
    fn the_terminal_table_has_one_row_per_work() {
        let text = terminal(&[outcome()]);
        let row = text.lines().nth(1).unwrap();
        assert!(row.starts_with("decode_1  tokens/s  64.0"), "{text}");
        assert!(
            row.contains("2.00") && row.contains("≥ 1.6") && row.contains("yes"),
            "{text}"
        );
    }
}
