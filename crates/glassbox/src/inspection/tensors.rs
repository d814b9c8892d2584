//! A safetensors file.

use std::path::Path;

use serde_json::json;

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, facts, table};
use crate::tensor_file::TensorFile;

/// Reads a file's header and compares it with the file's length.
pub(super) fn inspect(path: &Path) -> Result<Inspection, CliError> {
    let file = TensorFile::open(path)?;
    let tensors = file.tensors();
    let rows = tensors
        .iter()
        .map(|(name, dtype, shape)| vec![name.clone(), dtype.to_string(), format!("{shape:?}")]);
    let heading = facts(&[
        ("tensors", path.display().to_string()),
        ("size", bytes(file.bytes())),
        (
            "usable",
            "yes (the header agrees with the length; values are not checked)".to_owned(),
        ),
    ]);
    let text = format!(
        "{heading}\n{}",
        table(&["tensor", "type", "shape"], &rows.collect::<Vec<_>>())
    );
    let listed = tensors
        .iter()
        .map(|(name, dtype, shape)| json!({ "name": name, "type": dtype.to_string(), "shape": shape }));
    let rest = json!({ "bytes": file.bytes(), "tensors": listed.collect::<Vec<_>>() });
    Ok(Inspection {
        text,
        json: described("tensors", path, true, rest),
        damage: None,
    })
}
