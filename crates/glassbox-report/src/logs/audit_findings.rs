//! The verdict of an audit and its findings.

use glassbox_logs::audit::{AuditReport, Finding, Severity};

use super::body::{Body, Tile};
use crate::markup::{Markup, shortened};
use crate::number;

/// Examples shown of one finding.
const MOST_EXAMPLES: usize = 12;

pub(super) fn body(report: &AuditReport) -> Markup {
    let mut body = Body::default();
    let support = &report.support;
    body.headline(&if support.supported {
        format!(
            "The data support the analysis of {} for {} of {} features.",
            support.analysis,
            number::count(support.features),
            number::count(support.all_features)
        )
    } else {
        format!(
            "The data do not support the analysis of {} as they are.",
            support.analysis
        )
    });
    body.tiles(&tiles(report));
    for (severity, heading, class, word) in [
        (Severity::Error, "Errors", "failed", "✗ error"),
        (Severity::Warning, "Warnings", "failed", "! warning"),
        (Severity::Fact, "Facts", "", "fact"),
    ] {
        let found: Vec<&Finding> = report.of(severity).collect();
        if found.is_empty() {
            continue;
        }
        body.heading(heading);
        let rows: Vec<(&str, &str, &str, Vec<String>)> = found
            .into_iter()
            .map(|finding| (class, word, finding.what.as_str(), sentences(finding)))
            .collect();
        body.checks(&rows);
    }
    body.finish()
}

fn tiles(report: &AuditReport) -> Vec<Tile> {
    let totals = &report.totals;
    let mut tiles = vec![
        Tile::plain(number::count(totals.rows), "rows of trials"),
        Tile::plain(number::count(totals.trials), "different trials"),
    ];
    if let Some(plan) = &totals.planned {
        tiles.push(Tile::plain(number::count(plan.trials), "trials planned"));
    }
    if totals.counted_cells > 0 {
        tiles.push(Tile::plain(
            number::count(totals.counted_cells),
            "cells as counts alone",
        ));
    }
    tiles.push(Tile::plain(
        number::count(totals.features.max(report.support.all_features)),
        "features",
    ));
    for (count, text) in [
        (totals.surplus_rows, "surplus rows"),
        (report.read.unusable(), "rows cannot be used"),
        (report.of(Severity::Error).count() as u64, "errors"),
    ] {
        if count > 0 {
            tiles.push(Tile {
                figure: number::count(count),
                text,
                is_bad: true,
            });
        }
    }
    tiles
}

fn sentences(finding: &Finding) -> Vec<String> {
    let mut sentences = Vec::new();
    if !finding.examples.is_empty() {
        let shown: Vec<String> = finding
            .examples
            .iter()
            .take(MOST_EXAMPLES)
            .map(|example| match example.note.as_str() {
                "" => format!("{} ({})", example.name, number::count(example.count)),
                note => format!("{} ({note})", example.name),
            })
            .map(|text| shortened(&text, 300))
            .collect();
        let more = match finding.examples.len().saturating_sub(MOST_EXAMPLES) {
            0 => String::new(),
            more => format!("; {more} more"),
        };
        sentences.push(format!("{}{more}", shown.join("; ")));
    }
    if !finding.remedy.is_empty() {
        sentences.push(format!("→ {}", finding.remedy));
    }
    sentences
}
