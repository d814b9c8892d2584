//! The peer: `tools/logs_peer/peer.py`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::bench_logs::process::{Cost, run};
use crate::python;

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/logs_peer");

/// How the peer reads rows and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// As a good user of pandas writes it.
    Plain,
    /// As one would who writes for speed alone.
    Tuned,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Tuned];
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Tuned => "tuned",
        })
    }
}

/// The peer, ready to run.
pub struct Peer {
    python: PathBuf,
    logs: PathBuf,
    parser: PathBuf,
    processes: u32,
    out: PathBuf,
}

impl Peer {
    /// Finds the interpreter, or installs it.
    ///
    /// # Errors
    /// If it can't be installed.
    pub fn new(
        python: Option<&Path>,
        logs: &Path,
        parser: &Path,
        processes: u32,
        out: &Path,
    ) -> Result<Self> {
        let python = match python {
            Some(python) => python.to_owned(),
            None => {
                let requirements = Path::new(TOOLS).join("requirements.txt");
                python::environment(&out.join("python"), &[(&[], requirements)], "500 MB")?
            }
        };
        Ok(Self {
            python,
            logs: logs.to_owned(),
            parser: parser.to_owned(),
            processes,
            out: out.to_owned(),
        })
    }

    /// Where the result of some work is.
    pub fn result(&self, style: Style, work: &[&str]) -> PathBuf {
        self.out.join(format!("peer-{style}-{}.json", work.join("-")))
    }

    /// Does the work. The seconds are those that the peer measured itself, its imports left out.
    ///
    /// # Errors
    /// The peer's own.
    pub fn run(&self, style: Style, work: &[&str]) -> Result<Cost> {
        let mut command = Command::new(&self.python);
        command
            .arg(Path::new(TOOLS).join("peer.py"))
            .arg(&self.logs)
            .arg("--parser")
            .arg(&self.parser)
            .args(["--style", &style.to_string()])
            .args(["--processes", &self.processes.to_string()])
            .arg("--out")
            .arg(self.result(style, work))
            .arg("--work")
            .args(work)
            // One thread per process, as many processes as glassbox has threads.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1");
        let told = self.out.join("peer-seconds.json");
        let cost = run(&mut command, &told)?;
        let text = std::fs::read_to_string(&told).with_context(|| format!("read {}", told.display()))?;
        let reply: Value = serde_json::from_str(&text)
            .with_context(|| format!("the peer's reply {text:?}; its messages are in peer-seconds.log"))?;
        let seconds = reply["seconds"]["all"]
            .as_f64()
            .with_context(|| format!("the peer told no seconds: {reply}"))?;
        Ok(Cost { seconds, ..cost })
    }

    /// Python and the libraries.
    ///
    /// # Errors
    /// If the interpreter can't be started.
    pub fn versions(&self) -> Result<String> {
        const ASK: &str = "import platform, importlib.metadata as m; print('Python', platform.python_version(), *(f'{n} {m.version(n)}' for n in \
                           ('numpy', 'pandas', 'pyarrow', 'scipy', 'orjson', 'msgspec')), sep=', ')";
        let output = Command::new(&self.python)
            .args(["-c", ASK])
            .output()
            .with_context(|| format!("start {}", self.python.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
