//! Trials and outcomes by treatment, features by layer, and the files.

use glassbox_logs::audit::{AuditReport, LayerCount, TreatmentCount};

use super::body::{Body, Caption, legend_swatch};
use crate::ReportError;
use crate::figures::stacked_bars::{Bar, stacked_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

pub(super) fn body(report: &AuditReport) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    if !report.treatments.is_empty() {
        body.hint("Repeats are left out. Shares are of all trials of the treatment.");
        body.markup(&treatments(&report.treatments)?);
    }
    if report.layers.len() > 1 {
        layers(&mut body, &report.layers);
    }
    Ok(body.finish())
}

fn treatments(counts: &[TreatmentCount]) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("treatment", "kind of prompt, arm, dose"),
        numbers("cells", "one per feature and prompt"),
        numbers("trials", ""),
        numbers("per cell", "fewest and most"),
        numbers("stop", ""),
        numbers("bet", ""),
        numbers("unknown", ""),
        numbers("valid", "as the log says, where it does"),
        numbers("mean amount", "of the bets whose amount is known"),
        numbers("empty", "responses without text"),
        numbers("echo", "responses that repeat the prompt"),
    ];
    let rows = counts.iter().map(|row| {
        let share = |part: u64| {
            let share = (row.trials > 0).then(|| part as f64 / row.trials as f64);
            Cell::number(share, number::percent)
        };
        let range = if row.fewest == row.most {
            row.most.to_string()
        } else {
            format!("{}–{}", row.fewest, row.most)
        };
        vec![
            Cell::line(&row.treatment),
            Cell::count(row.cells),
            Cell::count(row.trials),
            Cell::figures(&range, Some(row.fewest as f64)),
            share(row.stop),
            share(row.bet),
            share(row.unknown),
            match row.valid {
                Some(valid) => share(valid),
                None => Cell::number(None, number::percent),
            },
            Cell::number(row.mean_amount, |amount| number::decimal(amount, 1)),
            share(row.empty),
            share(row.echo),
        ]
    });
    HtmlTable::new(
        "treatments",
        heads,
        rows,
        counts.len() as u64,
        "the output of --json",
    )
    .markup()
}

fn layers(body: &mut Body, layers: &[LayerCount]) {
    let has_causal = layers.iter().any(|layer| layer.called_causal > 0);
    let bars: Vec<Bar> = layers
        .iter()
        .map(|layer| {
            let features = layer.features.max(layer.listed_features);
            Bar {
                label: layer.layer.to_string(),
                about: format!(
                    "layer {}: {} features with trials, {} in lists, {} called causal, {} rows",
                    layer.layer,
                    number::count(layer.features),
                    number::count(layer.listed_features),
                    number::count(layer.called_causal),
                    number::count(layer.rows)
                ),
                lower: layer.called_causal,
                upper: features.saturating_sub(layer.called_causal),
            }
        })
        .collect();
    let caption = Caption {
        title: "Features by layer.",
        rest: "Those with trials or in lists.",
        legend: if has_causal {
            vec![
                legend_swatch("fill-a", "called causal by a list"),
                legend_swatch("light-b", "others"),
            ]
        } else {
            Vec::new()
        },
    };
    body.figure(
        &caption,
        &stacked_bars("Features by layer", "layer", "features", &bars),
    );
}

/// The files, and what of them cannot be used.
pub(super) fn files(report: &AuditReport) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    let heads = vec![
        texts("file", ""),
        texts("layouts", "rows of each"),
        numbers("bytes", "on disk"),
        numbers("rows", ""),
        numbers("trials", ""),
        numbers("unusable", ""),
    ];
    let rows = report.read.files.iter().map(|file| {
        let layouts: Vec<String> = file
            .layouts
            .iter()
            .map(|(layout, rows)| format!("{} ({})", layout.name(), number::count(*rows)))
            .collect();
        vec![
            Cell::text(&file.path.display().to_string()),
            Cell::text(&layouts.join(", ")),
            Cell::count(file.bytes),
            Cell::count(file.rows),
            Cell::count(file.trials),
            Cell::count(file.unusable),
        ]
    });
    let total = report.read.files.len() as u64;
    body.markup(&HtmlTable::new("files", heads, rows, total, "the output of --json").markup()?);
    for (path, why) in &report.read.absent {
        body.warning(&format!("{} is not read: {why}", path.display()));
    }
    if !report.problems.is_empty() {
        body.heading("Rows that cannot be used");
        let heads = vec![
            texts("file", ""),
            texts("kind", ""),
            numbers("rows", ""),
            texts("the first", "row from 1 and byte offset"),
        ];
        let rows = report.problems.iter().map(|problem| {
            let first: Vec<String> = problem.first.iter().map(ToString::to_string).collect();
            vec![
                Cell::text(&problem.path.display().to_string()),
                Cell::text(problem.kind.name()),
                Cell::count(problem.count),
                Cell::sentences(&first.join("; ")),
            ]
        });
        let total = report.problems.len() as u64;
        let table = HtmlTable::new(
            "unusable rows",
            heads,
            rows,
            total,
            "problems.parquet of an import",
        );
        body.markup(&table.markup()?);
    }
    Ok(body.finish())
}
