//! The shipped model, its dictionaries, prompts and scenario, inside the binary.

use std::path::{Path, PathBuf};

use glassbox_store::{Storage, StoreError, write_bytes};
use rust_embed::RustEmbed;

use crate::error::CliError;

#[derive(RustEmbed)]
#[folder = "../../assets/demo"]
#[exclude = "*.jsonl.log"]
#[exclude = "train_log.jsonl"]
struct Demo;

/// Unpacks the shipped files into a folder and returns the path of the scenario. Files that are there already are kept.
///
/// # Errors
/// [`CliError::Store`] if a file cannot be written, [`CliError::Usage`] if one is there with other content.
pub fn unpack(storage: &Storage, folder: &Path) -> Result<PathBuf, CliError> {
    for name in Demo::iter() {
        let Some(file) = Demo::get(&name) else { continue };
        let path = folder.join(Path::new(name.as_ref()));
        match std::fs::read(&path) {
            Ok(found) if found == file.data.as_ref() => continue,
            Ok(_) => {
                let what = format!(
                    "{} was changed: it is not the file that this version of the program ships",
                    path.display()
                );
                let hint = "run a changed scenario with `glassbox run`, or remove the file to have the shipped one back";
                return Err(CliError::usage_with_hint(what, hint));
            }
            Err(_) => {}
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|cause| StoreError::Unwritable {
                path: parent.to_owned(),
                cause,
            })?;
        }
        write_bytes(storage, &path, &file.data)?;
    }
    Ok(folder.join("scenario.toml"))
}
