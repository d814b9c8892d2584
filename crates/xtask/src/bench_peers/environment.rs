//! The Python environments of the peers, and the models, made where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bench_peers::inputs::{BLOCKS, DICTIONARIES, dictionary_folder};
use crate::python::{Requirements, environment, finish};

/// Scripts and requirement files.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/peers");

/// A pinned Python environment with its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// PyTorch and transformers.
    Torch,
    /// TransformerLens and SAELens.
    TransformerLens,
}

impl Environment {
    fn name(self) -> &'static str {
        match self {
            Self::Torch => "torch",
            Self::TransformerLens => "transformerlens",
        }
    }

    /// The command that starts its peer; installs the environment first where it is missing.
    ///
    /// # Errors
    /// If the environment can't be installed.
    pub fn peer(self, environments: &Path) -> Result<Command> {
        self.script(environments, &format!("{}_peer.py", self.name()))
    }

    /// The command that runs a script of `tools/peers`; installs the environment first where it is missing.
    ///
    /// # Errors
    /// If the environment can't be installed.
    pub fn script(self, environments: &Path, script: &str) -> Result<Command> {
        let mut command = Command::new(self.install(environments)?);
        command.arg(Path::new(TOOLS).join(script));
        Ok(command)
    }

    fn install(self, environments: &Path) -> Result<PathBuf> {
        let requirements = |name: String| Path::new(TOOLS).join(name);
        let mut steps: Vec<Requirements<'_>> =
            vec![(&[], requirements(format!("requirements-{}.txt", self.name())))];
        if self == Self::TransformerLens {
            let alone = requirements(format!("requirements-{}-alone.txt", self.name()));
            steps.push((&["--no-deps"], alone));
        }
        environment(&environments.join(self.name()), &steps, "several GB")
    }
}

/// Makes the random models and dictionaries where they are missing.
///
/// # Errors
/// If the script fails.
pub fn make_models(environments: &Path, data: &Path) -> Result<()> {
    let models = ["llama512", "llama512_bf16"].map(|name| data.join(name).join("tokenizer.json"));
    let last_dictionary = dictionary_folder(&data.join(DICTIONARIES), BLOCKS - 1).join("cfg.json");
    if models.iter().all(|file| file.is_file()) && last_dictionary.is_file() {
        return Ok(());
    }
    eprintln!("making the random models in {}", data.display());
    let python = Environment::Torch.install(environments)?;
    finish(
        Command::new(python)
            .arg(Path::new(TOOLS).join("make_models.py"))
            .arg(data),
    )
}
