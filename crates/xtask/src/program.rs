//! The program itself, built and started by chores that test it from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// The built program.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
}

/// Root of the repository.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.ancestors().nth(2).unwrap_or(xtask).to_owned()
}

impl Program {
    /// The program at `path`, or without one the program as it is released, built now.
    ///
    /// # Errors
    /// If it is not there or cannot be built.
    pub fn find(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => {
                let path = path.canonicalize().with_context(|| path.display().to_string())?;
                Ok(Self { path })
            }
            None => Self::build(),
        }
    }

    fn build() -> anyhow::Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--package", "glassbox"])
            .current_dir(root())
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("the program could not be built");
        }
        let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from);
        Ok(Self {
            path: target.join("release").join("glassbox"),
        })
    }

    /// A command that starts it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, arguments: &[String]) -> anyhow::Result<Child> {
        self.command()
            .args(arguments)
            .arg("--quiet")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))
    }

    /// Runs it to its end. A stated check that fails is no error: small runs may fail one.
    ///
    /// # Errors
    /// With what it said, if it did not do its work.
    pub fn run(&self, arguments: &[String]) -> anyhow::Result<()> {
        let child = self.start(arguments)?;
        finished(arguments, &child.wait_with_output()?)
    }

    /// As [`Program::run`], and the largest memory that the process held, in bytes.
    ///
    /// # Errors
    /// As [`Program::run`]; where the system does not tell.
    pub fn peak_memory(&self, arguments: &[String]) -> anyhow::Result<u64> {
        let mut child = self.start(arguments)?;
        let status = format!("/proc/{}/status", child.id());
        let mut peak = None;
        while child.try_wait()?.is_none() {
            // The figure only rises, so the last one read is the peak but for the last milliseconds.
            peak = fs::read_to_string(&status)
                .ok()
                .and_then(|text| high_water(&text))
                .or(peak);
            std::thread::sleep(Duration::from_millis(2));
        }
        finished(arguments, &child.wait_with_output()?)?;
        peak.with_context(|| format!("{status} does not tell the peak memory (VmHWM); this needs Linux"))
    }
}

/// Checks that the program did its work.
///
/// # Errors
/// With what it said.
pub fn finished(arguments: &[String], output: &Output) -> anyhow::Result<()> {
    match output.status.code() {
        Some(0 | 1) => Ok(()),
        _ => bail!(
            "glassbox {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// The peak memory in bytes that `/proc/PID/status` states.
pub fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
