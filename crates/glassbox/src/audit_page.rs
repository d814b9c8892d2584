//! An audit as one page of text.

use glassbox_logs::audit::{AuditReport, ComparedSet, Finding, Flips, ParserComparison, Severity, grouped};

use crate::table::{cut, facts, table};

/// Columns that the text may take.
const WIDTH: usize = 110;
/// Rows of a table, and names in a list, at most.
const ROWS: usize = 20;
const NAMES: usize = 5;

/// Lays an audit out: the verdict, counts, findings by severity, treatments, and the parsers' agreement.
pub fn page(report: &AuditReport) -> String {
    let mut text = facts(&[
        ("files", files(report)),
        ("trials", trials(report)),
        ("features", features(report)),
        ("verdict", verdict(report)),
    ]);
    for (severity, heading) in [
        (Severity::Error, "Errors"),
        (Severity::Warning, "Warnings"),
        (Severity::Fact, "Facts"),
    ] {
        let found: Vec<&Finding> = report.of(severity).collect();
        if !found.is_empty() {
            text.push_str(&format!("\n{heading}\n"));
            for finding in found {
                text.push_str(&finding_text(finding));
            }
        }
    }
    text.push_str(&treatments(report));
    text.push_str(&layers(report));
    if let Some(comparison) = &report.comparison {
        text.push_str(&comparison_text(comparison));
    }
    text
}

fn files(report: &AuditReport) -> String {
    let mut layouts: Vec<(&str, u64)> = Vec::new();
    for (layout, rows) in report.read.files.iter().flat_map(|file| &file.layouts) {
        match layouts.iter_mut().find(|(name, _)| *name == layout.name()) {
            Some((_, sum)) => *sum += rows,
            None => layouts.push((layout.name(), *rows)),
        }
    }
    let layouts: Vec<String> = layouts
        .iter()
        .map(|(name, rows)| format!("{name} ({} rows)", grouped(*rows)))
        .collect();
    let passed = match report.read.passed_over.len() {
        0 => String::new(),
        other => format!("; passed over by name: {other}"),
    };
    format!("{}: {}{passed}", report.read.files.len(), layouts.join(", "))
}

fn trials(report: &AuditReport) -> String {
    let totals = &report.totals;
    let mut text = format!(
        "{} in {} rows and {} cells",
        grouped(totals.trials),
        grouped(totals.rows),
        grouped(totals.cells)
    );
    if let Some(plan) = &totals.planned {
        text.push_str(&format!(
            "; planned {} = {} cells × {}",
            grouped(plan.trials),
            grouped(plan.cells),
            grouped(plan.per_cell)
        ));
    }
    if totals.counted_cells > 0 {
        text.push_str(&format!(
            "; {} more cells as counts alone",
            grouped(totals.counted_cells)
        ));
    }
    text
}

fn features(report: &AuditReport) -> String {
    format!(
        "{} with trials in {} layers, {} in lists",
        grouped(report.totals.features),
        grouped(report.totals.layers),
        grouped(report.totals.listed_features)
    )
}

fn verdict(report: &AuditReport) -> String {
    let support = &report.support;
    let (of, all) = (grouped(support.features), grouped(support.all_features));
    if support.supported {
        format!(
            "the data support the analysis of {} for {of} of {all} features",
            support.analysis
        )
    } else {
        format!(
            "the data do NOT support the analysis of {} as they are: see the errors",
            support.analysis
        )
    }
}

fn finding_text(finding: &Finding) -> String {
    let mut text = wrapped(&finding.what, "  - ", "    ");
    if !finding.examples.is_empty() && finding.severity != Severity::Fact {
        let shown = finding
            .examples
            .iter()
            .take(NAMES)
            .map(|example| match example.note.as_str() {
                "" => format!("{} ({})", example.name, grouped(example.count)),
                note => format!("{} ({note})", example.name),
            });
        let more = if finding.examples.len() > NAMES {
            "; …"
        } else {
            ""
        };
        let list = shown
            .map(|name| cut(&name, 3 * WIDTH))
            .collect::<Vec<_>>()
            .join("; ");
        text.push_str(&wrapped(&format!("{list}{more}"), "      ", "      "));
    }
    if !finding.remedy.is_empty() {
        text.push_str(&wrapped(&finding.remedy, "    → ", "      "));
    }
    text
}

/// Breaks a text into lines at spaces.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut lines = String::from(first);
    let mut column = first.chars().count();
    let mut fresh = true;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if !fresh && column + 1 + width > WIDTH {
            lines.push('\n');
            lines.push_str(rest);
            column = rest.chars().count();
            fresh = true;
        }
        if !fresh {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
        fresh = false;
    }
    lines.push('\n');
    lines
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{:.1}", 100.0 * part as f64 / whole as f64)
}

fn treatments(report: &AuditReport) -> String {
    if report.treatments.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = report
        .treatments
        .iter()
        .take(ROWS)
        .map(|row| {
            vec![
                row.treatment.clone(),
                row.cells.to_string(),
                row.trials.to_string(),
                if row.fewest == row.most {
                    row.most.to_string()
                } else {
                    format!("{}–{}", row.fewest, row.most)
                },
                share(row.stop, row.trials),
                share(row.bet, row.trials),
                share(row.unknown, row.trials),
                row.valid.map_or("–".to_owned(), |valid| share(valid, row.trials)),
                row.mean_amount
                    .map_or("–".to_owned(), |amount| format!("{amount:.1}")),
                share(row.empty, row.trials),
                share(row.echo, row.trials),
            ]
        })
        .collect();
    let headings = [
        "treatment",
        "cells",
        "trials",
        "per cell",
        "stop %",
        "bet %",
        "unknown %",
        "valid %",
        "amount",
        "empty %",
        "echo %",
    ];
    let more = match report.treatments.len().saturating_sub(ROWS) {
        0 => String::new(),
        other => format!("… and {other} more (--json has all)\n"),
    };
    format!("\n{}{more}", table(&headings, &rows))
}

fn layers(report: &AuditReport) -> String {
    if report.layers.len() < 2 {
        return String::new();
    }
    let entries: Vec<String> = report
        .layers
        .iter()
        .map(|layer| format!("{}: {}", layer.layer, layer.features.max(layer.listed_features)))
        .collect();
    format!(
        "\n{}",
        wrapped(&entries.join(", "), "Features by layer  ", "                   ")
    )
}

fn comparison_text(comparison: &ParserComparison) -> String {
    let [first, second] = &comparison.parsers;
    let mut text = format!(
        "\nParsers: {} ({}) and {} ({})\n",
        first.id, first.hash, second.id, second.hash
    );
    for set in &comparison.sets {
        text.push_str(&set_text(set));
    }
    text.push_str(&wrapped(
        &format!("Of a repeated trial {} was kept.", comparison.kept),
        "  ",
        "  ",
    ));
    if let Some(set) = comparison.sets.last() {
        text.push_str(&confusion(set, &first.id, &second.id));
    }
    for flips in &comparison.flips {
        text.push_str(&flips_text(flips, &first.id, &second.id));
    }
    text
}

fn set_text(set: &ComparedSet) -> String {
    let agreed = format!(
        "{}: {} of {} outcomes differ ({:.1} %); of {} read as bets by both, {} have the same amount",
        set.rows,
        grouped(set.disagree),
        grouped(set.responses),
        100.0 * set.disagree_share,
        grouped(set.both_bet),
        grouped(set.same_amount)
    );
    wrapped(&agreed, "  ", "    ")
}

fn confusion(set: &ComparedSet, first: &str, second: &str) -> String {
    let heading = format!("{first} \\ {second}");
    let mut headings = vec![heading.as_str()];
    headings.extend(set.labels.iter().map(String::as_str));
    let rows: Vec<Vec<String>> = set
        .labels
        .iter()
        .zip(&set.confusion)
        .map(|(label, counts)| {
            let mut row = vec![label.clone()];
            row.extend(counts.iter().map(u64::to_string));
            row
        })
        .collect();
    let table = table(&headings, &rows);
    table.lines().map(|line| format!("  {line}\n")).collect()
}

fn flips_text(flips: &Flips, first: &str, second: &str) -> String {
    let text = format!(
        "{}: {} of {} flip ({} with {first}, {} with {second}, {} with both)",
        flips.criterion,
        grouped(flips.flipped),
        grouped(flips.tested),
        grouped(flips.first),
        grouped(flips.second),
        grouped(flips.both)
    );
    wrapped(&text, "  ", "    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped() {
        let text = wrapped(&"word ".repeat(50), "  - ", "    ");
        assert!(
            text.lines().count() == 3 && text.lines().all(|line| line.len() <= WIDTH),
            "{text}"
        );
        assert!(text.starts_with("  - word") && text.contains("\n    word"));
    }
}
