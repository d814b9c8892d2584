//! `patch`: activation patching over layers and positions.

use std::time::Instant;

use glassbox_experiment::ExperimentError;
use glassbox_experiment::continuation::continuation_tokens;
use glassbox_experiment::metric::LogitMetric;
use glassbox_experiment::patching::{PatchGrid, PatchSite, patch_grid};
use glassbox_experiment::tables::PatchRow;
use glassbox_model::tokenizer::Beginning;
use glassbox_store::{Storage, write_table};
use serde_json::json;

use crate::arguments::PatchArguments;
use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::named_model::NamedModel;
use crate::output::{print, print_json, refuse_input_as_output, refuse_other_kinds};
use crate::progress::Progress;
use crate::table::{count, cut, table};

/// Characters of a token in the table.
const TOKEN_WIDTH: usize = 14;

/// Patches every cell, writes the table and shows it.
///
/// # Errors
/// A [`CliError`] if the model, a prompt, the metric or the file to write cannot be used, or a signal came.
pub fn patch(arguments: &PatchArguments, quiet: bool) -> Result<u8, CliError> {
    let interrupt = Interrupt::listen()?;
    let named = NamedModel::open(&arguments.model, arguments.weights)?;
    refuse_input_as_output(&arguments.out, &[&named.folder])?;
    refuse_other_kinds(&arguments.out)?;
    let sites = arguments
        .sites
        .iter()
        .map(|name| PatchSite::from_name(name))
        .collect::<Result<Vec<_>, _>>()?;
    let clean = tokens(
        &named,
        arguments.clean.as_deref(),
        arguments.clean_tokens.as_deref(),
    )?;
    let corrupted = tokens(
        &named,
        arguments.corrupted.as_deref(),
        arguments.corrupted_tokens.as_deref(),
    )?;
    let metric = metric(&named, arguments)?;
    let since = Instant::now();
    let grid = patch_grid(
        &named.model,
        &clean,
        &corrupted,
        &sites,
        &|logits| metric.value(logits),
        &Progress::new(quiet, interrupt.flag()),
    )
    .map_err(|error| match error {
        ExperimentError::Interrupted { .. } => CliError::Stopped {
            path: arguments.out.clone(),
        },
        other => other.into(),
    })?;
    let seconds = since.elapsed().as_secs_f64();
    let rows = rows(&grid, &clean, &corrupted, &arguments.metric);
    write_table(&Storage::new(), &arguments.out, &rows).map_err(one_file)?;
    if arguments.json {
        let sites: serde_json::Map<String, serde_json::Value> = grid
            .sites
            .iter()
            .map(|(site, values)| {
                let layers: Vec<&[f64]> = values.chunks(grid.positions).collect();
                (site.name().to_owned(), json!(layers))
            })
            .collect();
        print_json(&json!({
            "metric": arguments.metric,
            "metric_tokens": metric.tokens(),
            "clean_tokens": clean,
            "corrupted_tokens": corrupted,
            "clean": grid.clean,
            "corrupted": grid.corrupted,
            "layers": grid.layers,
            "positions": grid.positions,
            "sites": sites,
            "cells": rows.len(),
            "cells_computed": grid.computed,
            "seconds": seconds,
            "cells_per_second": rows.len() as f64 / seconds.max(1e-9),
            "out": arguments.out.display().to_string(),
        }))?;
    } else {
        print(&text(&named, &grid, &metric, &clean, &corrupted))?;
        print(&format!(
            "\n{} cells in {seconds:.1} s, {} of them computed; the others are before the prompts' first difference.\nWritten: {}\n",
            count(rows.len() as u64),
            count(grid.computed),
            arguments.out.display()
        ))?;
    }
    Ok(exit_code::DONE)
}

fn tokens(named: &NamedModel, text: Option<&str>, tokens: Option<&[u32]>) -> Result<Vec<u32>, CliError> {
    match tokens {
        Some(tokens) => Ok(tokens.to_vec()),
        None => named.prompt_tokens(text.unwrap_or_default()),
    }
}

/// The metric, each token as it follows both prompts.
fn metric(named: &NamedModel, arguments: &PatchArguments) -> Result<LogitMetric, CliError> {
    let vocabulary = named.model.config().vocab_size;
    let beginning = Beginning::of_prompts(named.model.config());
    let refuse = |what: String| {
        Err(ExperimentError::Data {
            stage: "metric",
            what,
        })
    };
    let token = |text: &str| {
        if let Some(id) = text.strip_prefix('#').and_then(|id| id.parse::<u32>().ok()) {
            if id as usize >= vocabulary {
                return refuse(format!(
                    "the model has no token #{id}; its vocabulary has {vocabulary}"
                ));
            }
            return Ok(id);
        }
        let (Some(clean), Some(corrupted)) = (&arguments.clean, &arguments.corrupted) else {
            return refuse(format!(
                "{text:?} is text, but the prompts are token ids; give tokens by id, for example #{}",
                vocabulary - 1
            ));
        };
        let tokenizer = named.tokenizer().map_err(|error| ExperimentError::Data {
            stage: "metric",
            what: error.message(),
        })?;
        let after_clean = continuation_tokens(tokenizer, beginning, clean, text)?;
        let after_corrupted = continuation_tokens(tokenizer, beginning, corrupted, text)?;
        match (after_clean.as_slice(), after_corrupted.as_slice()) {
            ([one], [other]) if one == other => Ok(*one),
            ([_], [_]) => refuse(format!(
                "{text:?} is another token after the clean prompt than after the corrupted one"
            )),
            (several, _) => refuse(format!(
                "{text:?} is {} tokens here; a metric of one position takes single tokens, so name the first, for example by id: #{}",
                several.len(),
                several[0]
            )),
        }
    };
    Ok(LogitMetric::parse(&arguments.metric, &token)?)
}

fn rows(grid: &PatchGrid, clean: &[u32], corrupted: &[u32], metric: &str) -> Vec<PatchRow> {
    let mut rows = Vec::new();
    for (site, values) in &grid.sites {
        for (cell, &value) in values.iter().enumerate() {
            let (layer, position) = (cell / grid.positions, cell % grid.positions);
            rows.push(PatchRow {
                site: site.name().to_owned(),
                layer: layer as u32,
                position: position as u32,
                clean_token: clean[position],
                corrupted_token: corrupted[position],
                metric: metric.to_owned(),
                value,
                effect: value - grid.corrupted,
                recovered: grid.recovered(value),
            });
        }
    }
    rows
}

/// One table per site: a line per position from the first difference on, a column per block.
fn text(
    named: &NamedModel,
    grid: &PatchGrid,
    metric: &LogitMetric,
    clean: &[u32],
    corrupted: &[u32],
) -> String {
    let named_token = |id: u32| match named.tokenizer().ok().and_then(|t| t.token_text(id).ok()) {
        Some(text) => format!("{text:?} (#{id})"),
        None => format!("#{id}"),
    };
    let tokens: Vec<String> = metric.tokens().into_iter().map(named_token).collect();
    let mut text = format!(
        "Tokens of the metric: {}. Clean run {:.4}, corrupted run {:.4}.\n",
        tokens.join(", "),
        grid.clean,
        grid.corrupted
    );
    let first = clean.iter().zip(corrupted).take_while(|(a, b)| a == b).count();
    for (site, values) in &grid.sites {
        let meaning = if grid.clean == grid.corrupted {
            "metric minus the corrupted run's"
        } else {
            "percent of the clean run's metric brought back"
        };
        text.push_str(&format!("\n{}, {meaning}:\n", site.name()));
        let mut headings = vec!["position".to_owned(), "clean".to_owned(), "corrupted".to_owned()];
        headings.extend((0..grid.layers).map(|layer| format!("L{layer}")));
        let lines: Vec<Vec<String>> = (first..grid.positions)
            .map(|position| {
                let mut line = vec![
                    position.to_string(),
                    cut(&named_token(clean[position]), TOKEN_WIDTH),
                    cut(&named_token(corrupted[position]), TOKEN_WIDTH),
                ];
                line.extend((0..grid.layers).map(|layer| {
                    let value = values[layer * grid.positions + position];
                    match grid.recovered(value) {
                        Some(recovered) => format!("{:.0}", 100.0 * recovered),
                        None => format!("{:.3}", value - grid.corrupted),
                    }
                }));
                line
            })
            .collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        text.push_str(&table(&headings, &lines));
    }
    text
}
