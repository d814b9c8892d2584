//! The Python environments of the peers, and the models, made where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::bench_peers::inputs::{BLOCKS, DICTIONARIES, dictionary_folder};

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

    fn python(self, environments: &Path) -> PathBuf {
        environments.join(self.name()).join("bin").join("python")
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
        let python = self.python(environments);
        if python.is_file() {
            return Ok(python);
        }
        // Made under another name, so that an interrupted installation is not taken for a whole one: scripts of an
        // environment hold its path, but the interpreter, which is all that is used here, does not.
        let part = environments.join(format!("{}.part", self.name()));
        if part.exists() {
            std::fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
        }
        std::fs::create_dir_all(environments).with_context(|| format!("make {}", environments.display()))?;
        eprintln!(
            "installing {} (several GB)",
            environments.join(self.name()).display()
        );
        finish(Command::new("python3").args(["-m", "venv"]).arg(&part))?;
        let install = |extra: &[&str], requirements: String| {
            finish(
                Command::new(part.join("bin").join("python"))
                    .args(["-m", "pip", "install", "--quiet"])
                    .args(extra)
                    .arg("--requirement")
                    .arg(Path::new(TOOLS).join(requirements)),
            )
        };
        install(&[], format!("requirements-{}.txt", self.name()))?;
        if self == Self::TransformerLens {
            install(&["--no-deps"], format!("requirements-{}-alone.txt", self.name()))?;
        }
        let place = environments.join(self.name());
        std::fs::rename(&part, &place)
            .with_context(|| format!("rename {} to {}", part.display(), place.display()))?;
        Ok(python)
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

fn finish(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}; is Python 3 with its venv module installed?"))?;
    ensure!(
        status.success(),
        "{command:?} failed with {status}; its own messages are above"
    );
    Ok(())
}
