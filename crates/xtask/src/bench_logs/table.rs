//! The result as a terminal table and as Markdown.

use std::fmt::Write as _;

use crate::bench_logs::measured::{Result, Side, Work};

/// One row per work: cells of glassbox, then of every peer.
fn rows(works: &[Work]) -> Vec<Vec<String>> {
    let mut header = vec![
        "work".to_owned(),
        "glassbox, s".to_owned(),
        "CPU s".to_owned(),
        "MB".to_owned(),
    ];
    for peer in works.first().map_or(&[][..], |work| &work.peers) {
        header.extend([
            format!("{} peer, s", peer.name),
            "CPU s".to_owned(),
            "MB".to_owned(),
            "times".to_owned(),
        ]);
    }
    let side = |side: &Side| {
        [
            format!("{:.2}", side.median()),
            format!("{:.1}", side.processor_median()),
            (side.peak / 1_000_000).to_string(),
        ]
    };
    let mut rows = vec![header];
    rows.extend(works.iter().map(|work| {
        let mut row = vec![work.name.clone()];
        row.extend(side(&work.glassbox));
        for peer in &work.peers {
            let [ratio, low, high] = work.ratio(peer);
            row.extend(side(peer));
            row.push(format!("{ratio:.1} ({low:.1} to {high:.1})"));
        }
        row
    }));
    rows
}

/// For a terminal.
pub fn terminal(result: &Result) -> String {
    let rows = rows(&result.works);
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    for target in &result.targets {
        let reached = if target.reached { "yes" } else { "no" };
        let _ = writeln!(text, "{}: {} ({reached})", target.what, target.measured);
    }
    let _ = writeln!(text, "\ncheck: {}", result.check);
    text
}

/// As Markdown.
pub fn markdown(result: &Result) -> String {
    let mut text = format!(
        "{}; {} threads of glassbox, as many processes of the peer. {}.\n\n",
        result.machine, result.threads, result.logs
    );
    for (number, row) in rows(&result.works).iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text.push_str("\n| target | measured | reached |\n|---|---|---|\n");
    for target in &result.targets {
        let reached = if target.reached { "yes" } else { "no" };
        let _ = writeln!(text, "| {} | {} | {reached} |", target.what, target.measured);
    }
    let rounds = result.works.first().map_or(0, |work| work.glassbox.seconds.len());
    let _ = writeln!(
        text,
        "\nMedians of {rounds} rounds; times as long by the clock within rounds, with the least and the most. CPU s counts both processors, \
         and the peer's imports, which its clock leaves out.\n"
    );
    for work in result.works.iter().filter(|work| !work.note.is_empty()) {
        let _ = writeln!(text, "- {}: {}.", work.name, work.note);
    }
    let _ = writeln!(text, "- Check: {}.", result.check);
    if let Some(load) = result.load_before {
        let _ = writeln!(text, "- Load of the machine in the minute before: {load}.");
    }
    let _ = writeln!(text, "- {}.", result.versions);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_is_a_row_with_all_sides() {
        let side = |name: &str, seconds| Side {
            name: name.into(),
            seconds: vec![seconds],
            processor: vec![2.0 * seconds],
            peak: 100_000_000,
        };
        let work = Work {
            name: "audit".into(),
            note: "a note",
            glassbox: side("glassbox", 2.0),
            peers: vec![side("plain", 30.0), side("tuned", 10.0)],
        };
        let result = Result {
            targets: crate::bench_logs::measured::targets(std::slice::from_ref(&work)),
            works: vec![work],
            check: "equal".into(),
            logs: "3 rows".into(),
            machine: "a processor".into(),
            threads: 2,
            versions: "glassbox 1".into(),
            load_before: Some(0.5),
        };
        let text = markdown(&result);
        let row = "| audit | 2.00 | 4.0 | 100 | 30.00 | 60.0 | 100 | 15.0 (15.0 to 15.0) | 10.00 | 20.0 | 100 | 5.0 (5.0 to 5.0) |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("- audit: a note.") && text.contains("| `audit` in at most 10 s | 2.0 s | yes |")
        );
        let text = terminal(&result);
        assert!(
            text.contains("audit: 10 times as fast as the tuned peer: 5.0 (no)"),
            "{text}"
        );
    }
}
