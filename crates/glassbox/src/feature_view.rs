//! One feature of an earlier census, in the terminal.

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::CliError;
use crate::exit_code;
use crate::output::{print, print_json};
use crate::table::{count, facts};

/// Contexts shown.
const CONTEXTS: usize = 10;

/// Characters of a context on either side of its peak.
const AROUND: usize = 60;

/// Shows a feature by its name, `L3-120` or `120`.
///
/// # Errors
/// [`CliError::Usage`] if the folder holds no census or no such feature.
pub fn show_feature(paths: &[PathBuf], name: &str, json: bool) -> Result<u8, CliError> {
    let [folder] = paths else {
        return Err(CliError::usage_with_hint(
            "--show takes the one folder that an earlier `features` wrote",
            "glassbox features DIR --show L3-120",
        ));
    };
    let feature = find(folder, name)?;
    if json {
        print_json(&feature)?;
    } else {
        print(&text(&feature))?;
    }
    Ok(exit_code::DONE)
}

fn find(folder: &Path, name: &str) -> Result<Value, CliError> {
    let files = censuses(folder);
    if files.is_empty() {
        return Err(CliError::usage_with_hint(
            format!(
                "{} holds no features.jsonl, nor do the folders in it",
                folder.display()
            ),
            "name the folder that `glassbox features … --out` wrote",
        ));
    }
    let mut names = Vec::new();
    for path in &files {
        let failed = |cause: std::io::Error| CliError::Read {
            path: path.clone(),
            cause,
        };
        let file = fs::File::open(path).map_err(failed)?;
        for (line, text) in (1..).zip(BufReader::new(file).lines()) {
            let text = text.map_err(failed)?;
            let feature: Value = serde_json::from_str(&text).map_err(|cause| {
                let what = format!("line {line} is no feature: {cause}");
                failed(std::io::Error::new(std::io::ErrorKind::InvalidData, what))
            })?;
            let number = name.parse::<u64>().ok();
            if feature["name"] == name || number.is_some() && feature["feature"].as_u64() == number {
                return Ok(feature);
            }
            names.push(feature["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    let known = match (names.first(), names.last()) {
        (Some(first), Some(last)) => format!("there are {first} to {last}"),
        _ => "there are none".to_owned(),
    };
    Err(CliError::usage(format!(
        "{} has no feature `{name}`; {known}",
        folder.display()
    )))
}

/// The files of features in a folder and in those directly below it, by name.
fn censuses(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    folders.extend(below.map(|entry| entry.path()));
    folders.sort();
    folders
        .into_iter()
        .map(|folder| folder.join("features.jsonl"))
        .filter(|path| path.is_file())
        .collect()
}

fn text(feature: &Value) -> String {
    let number = |value: &Value| {
        value
            .as_f64()
            .map_or("–".to_owned(), |value| format!("{value:.4}"))
    };
    let list = |value: &Value, entries: usize| -> String {
        let entries: Vec<String> = value
            .as_array()
            .into_iter()
            .flatten()
            .take(entries)
            .map(|entry| {
                let name = match &entry[0] {
                    Value::String(token) => format!("{token:?}"),
                    other => other.to_string(),
                };
                match entry[1].as_u64() {
                    Some(count) => format!("{name} {count}"),
                    None => format!("{name} {:.2}", entry[1].as_f64().unwrap_or_default()),
                }
            })
            .collect();
        if entries.is_empty() {
            "–".to_owned()
        } else {
            entries.join("  ")
        }
    };
    let mut lines = vec![
        ("feature", feature["name"].as_str().unwrap_or_default().to_owned()),
        (
            "active",
            format!(
                "on {} tokens, {:.3} %",
                count(feature["active_tokens"].as_u64().unwrap_or_default()),
                100.0 * feature["density"].as_f64().unwrap_or_default()
            ),
        ),
        (
            "activation",
            format!(
                "mean {} (sd {}), largest {}",
                number(&feature["mean"]),
                number(&feature["standard_deviation"]),
                number(&feature["largest"])
            ),
        ),
    ];
    if let Some(label) = feature["label"].as_str() {
        lines.push(("label", label.to_owned()));
    }
    let consistency = &feature["consistency"];
    if consistency.is_object() {
        lines.push((
            "consistency",
            format!(
                "{} ({:.0} % of pairs agree at offset {}, control {:.0} %, q {}){}",
                number(&consistency["score"]),
                100.0 * consistency["agreement"].as_f64().unwrap_or_default(),
                consistency["offset"],
                100.0 * consistency["control"].as_f64().unwrap_or_default(),
                number(&consistency["q"]),
                if consistency["interpretable"] == true {
                    ", interpretable"
                } else {
                    ""
                }
            ),
        ));
    }
    lines.extend([
        ("active on", list(&feature["tokens"], 8)),
        ("at the peak", list(&feature["peak_tokens"], 8)),
        ("around it", list(&feature["window_tokens"], 8)),
        ("promotes", list(&feature["promoted"], 8)),
        ("suppresses", list(&feature["suppressed"], 8)),
        ("nearest", list(&feature["nearest"], 5)),
        ("correlated", list(&feature["correlated"], 5)),
    ]);
    let mut text = facts(&lines);
    let terminal = std::io::stdout().is_terminal();
    for context in feature["top_contexts"]
        .as_array()
        .into_iter()
        .flatten()
        .take(CONTEXTS)
    {
        text.push_str(&context_line(context, terminal));
    }
    text
}

/// A context on one line around its peak, which is marked.
fn context_line(context: &Value, terminal: bool) -> String {
    let tokens: Vec<&str> = context["tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|token| token.as_str().unwrap_or_default())
        .collect();
    let peak = (context["peak"].as_u64().unwrap_or_default() as usize).min(tokens.len().saturating_sub(1));
    let safe = |text: String| -> String {
        text.replace('\n', "⏎")
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    };
    let before: Vec<char> = safe(tokens[..peak].concat()).chars().collect();
    let after: Vec<char> = safe(tokens.get(peak + 1..).unwrap_or_default().concat())
        .chars()
        .collect();
    let before: String = before[before.len().saturating_sub(AROUND)..].iter().collect();
    let after: String = after[..after.len().min(AROUND)].iter().collect();
    let token = safe(tokens.get(peak).copied().unwrap_or_default().to_owned());
    let token = if terminal {
        format!("\u{1b}[1;33m{token}\u{1b}[0m")
    } else {
        format!("«{token}»")
    };
    format!(
        "{:>9.3}  {before:>AROUND$}{token}{after}\n",
        context["activation"].as_f64().unwrap_or_default()
    )
}
