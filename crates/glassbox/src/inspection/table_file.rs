//! A Parquet table.

use std::path::Path;

use glassbox_store::{TablePreview, display_cell, preview_table};
use serde_json::json;

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{count, cut, facts, table};

/// Width of a terminal that the text fits.
const WIDTH: usize = 100;

/// Reads a table's schema and its first rows.
pub(super) fn inspect(path: &Path, rows: usize) -> Result<Inspection, CliError> {
    let preview = preview_table(path, rows)?;
    let rest = json!({
        "table": preview.table,
        "schema_version": preview.schema_version,
        "description": preview.description,
        "total_rows": preview.total_rows,
        "columns": preview.columns,
        "rows": preview.rows,
    });
    Ok(Inspection {
        text: text(&preview),
        json: described("table", path, true, rest),
        damage: None,
    })
}

/// Columns run down the page, rows across it: tables here have many columns.
fn text(preview: &TablePreview) -> String {
    let name = match (&preview.table, &preview.schema_version) {
        (Some(table), Some(version)) => format!("{table}, version {version}"),
        _ => "not written by glassbox".to_owned(),
    };
    let heading = facts(&[
        ("table", preview.path.display().to_string()),
        ("holds", name),
        (
            "a row is",
            preview.description.clone().unwrap_or_else(|| "–".to_owned()),
        ),
        ("rows", count(preview.total_rows)),
        ("usable", "yes".to_owned()),
    ]);
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let names = widest(
        &mut preview
            .columns
            .iter()
            .map(|column| column.name.chars().count())
            .chain([6]),
    );
    let types = widest(
        &mut preview
            .columns
            .iter()
            .map(|column| type_of(column).chars().count())
            .chain([4]),
    );
    let shown = preview.rows.len().clamp(1, 6);
    let cell_width = (WIDTH.saturating_sub(names + types + 2) / shown)
        .saturating_sub(2)
        .clamp(8, 40);
    let rows: Vec<Vec<String>> = preview
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = preview.rows.iter().take(shown);
            let cells = cells.map(|row| {
                row.get(index)
                    .map_or_else(String::new, |value| cut(&display_cell(value), cell_width))
            });
            [column.name.clone(), type_of(column)]
                .into_iter()
                .chain(cells)
                .collect()
        })
        .collect();
    let numbers: Vec<String> = (0..preview.rows.len().min(shown))
        .map(|row| format!("row {row}"))
        .collect();
    let headings: Vec<&str> = ["column", "type"]
        .into_iter()
        .chain(numbers.iter().map(String::as_str))
        .collect();
    format!("{heading}\n{}", table(&headings, &rows))
}

fn type_of(column: &glassbox_store::PreviewColumn) -> String {
    format!("{}{}", column.r#type, if column.nullable { "?" } else { "" })
}
