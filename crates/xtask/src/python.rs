//! Python environments, made where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What is installed in one step: further flags of pip, and the requirement file.
pub type Requirements<'r> = (&'r [&'r str], PathBuf);

/// The interpreter of the environment at a place; installs it first where it is missing.
///
/// # Errors
/// If it can't be installed.
pub fn environment(place: &Path, steps: &[Requirements<'_>], size: &str) -> Result<PathBuf> {
    let python = place.join("bin").join("python");
    if python.is_file() {
        return Ok(python);
    }
    // Made under another name, so that an interrupted installation is not taken for a whole one: scripts of an
    // environment hold its path, but the interpreter, which is all that is used here, does not.
    let part = place.with_extension("part");
    if part.exists() {
        std::fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    eprintln!("installing {} ({size})", place.display());
    finish(Command::new("python3").args(["-m", "venv"]).arg(&part))?;
    for (flags, requirements) in steps {
        finish(
            Command::new(part.join("bin").join("python"))
                .args(["-m", "pip", "install", "--quiet"])
                .args(*flags)
                .arg("--requirement")
                .arg(requirements),
        )?;
    }
    std::fs::rename(&part, place)
        .with_context(|| format!("rename {} to {}", part.display(), place.display()))?;
    Ok(python)
}

/// Runs a command to its end.
///
/// # Errors
/// If it can't be started or fails.
pub fn finish(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}; is Python 3 with its venv module installed?"))?;
    ensure!(
        status.success(),
        "{command:?} failed with {status}; its own messages are above"
    );
    Ok(())
}
