//! A file of PyTorch or NumPy that is no dictionary: its tensors, and the plain values beside them.

use std::path::Path;

use glassbox_tensors::{Container, PickledValue, TensorFile, TorchFile};
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, cut, facts, table};

/// Dicts in each other that are looked into.
const DEPTH: usize = 4;
/// Lines that are shown.
const LINES: usize = 200;

/// One tensor or value.
struct Line {
    name: String,
    kind: String,
    /// Shape or value.
    what: String,
}

/// Reads what the file says of its contents; values of tensors stay where they are.
pub(super) fn inspect(path: &Path) -> Result<Inspection, CliError> {
    let file = TensorFile::open(path)?;
    let mut lines = Vec::new();
    if file.container() == Container::Torch {
        let torch = TorchFile::open(path)?;
        walk(&torch, torch.root(), "", DEPTH, &mut lines)?;
    } else {
        tensors(&file, "", &mut lines);
    }
    let cut_off = lines.len() > LINES;
    lines.truncate(LINES);
    let heading = facts(&[
        ("tensors", path.display().to_string()),
        ("container", file.container().to_string()),
        ("size", bytes(file.bytes().len() as u64)),
        ("usable", "yes (values are not checked)".to_owned()),
    ]);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| vec![cut(&line.name, 60), line.kind.clone(), cut(&line.what, 40)])
        .collect();
    let more = if cut_off {
        format!("and more; the first {LINES} are shown\n")
    } else {
        String::new()
    };
    let text = format!(
        "{heading}\n{}{more}",
        table(&["name", "type", "shape or value"], &rows)
    );
    let listed: Vec<Value> = lines
        .into_iter()
        .map(|line| json!({ "name": line.name, "type": line.kind, "what": line.what }))
        .collect();
    let rest = json!({
        "container": file.container().to_string(),
        "bytes": file.bytes().len(),
        "contents": listed,
        "complete": !cut_off,
    });
    Ok(Inspection {
        text,
        json: described("tensors", path, true, rest),
        damage: None,
    })
}

fn tensors(file: &TensorFile, prefix: &str, lines: &mut Vec<Line>) {
    for name in file.names() {
        if let Some(info) = file.info(name) {
            lines.push(Line {
                name: format!("{prefix}{name}"),
                kind: info.element_type.to_string(),
                what: format!("{:?}", info.shape),
            });
        }
    }
}

fn walk(
    file: &TorchFile,
    value: PickledValue<'_>,
    prefix: &str,
    depth: usize,
    lines: &mut Vec<Line>,
) -> Result<(), CliError> {
    tensors(&file.tensors(value)?, prefix, lines);
    for (key, value) in value.entries() {
        // A tree may share its parts, or contain itself: what is shown is bounded, not the walk's end.
        if lines.len() > LINES {
            return Ok(());
        }
        let name = format!("{prefix}{key}");
        if value.is_dict() && depth > 1 {
            walk(file, value, &format!("{name} / "), depth - 1, lines)?;
        } else if !value.is_tensor() {
            lines.push(Line {
                name,
                kind: value.kind().to_owned(),
                what: shown(value),
            });
        }
    }
    Ok(())
}

fn shown(value: PickledValue<'_>) -> String {
    if let Some(integer) = value.integer() {
        integer.to_string()
    } else if let Some(number) = value.number() {
        number.to_string()
    } else if let Some(text) = value.text() {
        text.to_owned()
    } else if let Some(flag) = value.flag() {
        flag.to_string()
    } else if value.is_dict() {
        format!("{} entries", value.entries().count())
    } else {
        match value.items().count() {
            0 => String::new(),
            count => format!("{count} items"),
        }
    }
}
