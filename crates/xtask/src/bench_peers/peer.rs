//! A peer: a long-lived Python process that answers requests line by line (`tools/peers/protocol.py`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::bench_peers::bench::Setting;
use crate::bench_peers::environment::Environment;

/// A running peer.
pub struct Peer {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// Its messages.
    log: PathBuf,
    /// Where it puts tensors.
    tensors: PathBuf,
    threads: u32,
    versions: String,
    /// Whether its messages are still needed.
    failed: bool,
}

/// A tensor that a peer computed; whole numbers are converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl Peer {
    /// Starts a peer, installing its environment where it is missing.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(environment: Environment, setting: &Setting) -> Result<Self> {
        let name = format!("peer-{}", std::process::id());
        let log = setting.data.join(format!("{name}.log"));
        let messages = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command = environment.peer(&setting.environments)?;
        let threads = setting.threads.to_string();
        command
            .env("OMP_NUM_THREADS", &threads)
            .env("MKL_NUM_THREADS", &threads)
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages);
        let mut process = command.spawn().with_context(|| format!("start {command:?}"))?;
        let (Some(requests), Some(replies)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("{command:?} has no stdin or stdout");
        };
        let mut peer = Self {
            process,
            requests,
            replies: BufReader::new(replies),
            log,
            tensors: setting.data.join(format!("{name}.safetensors")),
            threads: setting.threads,
            versions: String::new(),
            failed: false,
        };
        let reply = peer.ask(&json!({"do": "versions"}))?;
        if let Some(versions) = reply["versions"].as_object() {
            let one = |(name, version): (&String, &Value)| {
                format!("{name} {}", version.as_str().unwrap_or_default())
            };
            peer.versions = versions.iter().map(one).collect::<Vec<_>>().join(", ");
        }
        Ok(peer)
    }

    /// Its programs and their versions.
    pub fn versions(&self) -> &str {
        &self.versions
    }

    /// Makes one work ready to run; `fields` is a JSON object with what the work needs.
    ///
    /// # Errors
    /// The peer's own.
    pub fn prepare(&mut self, work: &str, fields: Value) -> Result<()> {
        let mut request = Map::new();
        request.insert("do".to_owned(), json!("prepare"));
        request.insert("work".to_owned(), json!(work));
        request.insert("threads".to_owned(), json!(self.threads));
        if let Value::Object(fields) = fields {
            request.extend(fields);
        }
        self.ask(&Value::Object(request)).map(|_| ())
    }

    /// Does the prepared work once and returns its seconds.
    ///
    /// # Errors
    /// The peer's own.
    pub fn run(&mut self) -> Result<f64> {
        let reply = self.ask(&json!({"do": "run"}))?;
        reply["seconds"]
            .as_f64()
            .with_context(|| format!("the peer answered a run without seconds: {reply}"))
    }

    /// Does the prepared work once and returns its results.
    ///
    /// # Errors
    /// The peer's own.
    pub fn check(&mut self) -> Result<BTreeMap<String, Tensor>> {
        let file = self.tensors.clone();
        self.ask(&json!({"do": "check", "into": file}))?;
        let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        let stored = SafeTensors::deserialize(&bytes).with_context(|| format!("{}", file.display()))?;
        stored
            .iter()
            .map(|(name, view)| {
                let (words, halves) = view.data().as_chunks::<4>();
                ensure!(halves.is_empty(), "tensor {name} is not of whole words");
                let values = match view.dtype() {
                    Dtype::F32 => words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
                    Dtype::I64 => {
                        let (longs, _) = view.data().as_chunks::<8>();
                        longs
                            .iter()
                            .map(|long| i64::from_le_bytes(*long) as f32)
                            .collect()
                    }
                    other => bail!("tensor {name} is {other:?}; a peer sends f32 and i64"),
                };
                let shape = view.shape().to_vec();
                Ok((name.to_owned(), Tensor { shape, values }))
            })
            .collect()
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        let reply = self.exchange(request);
        self.failed |= reply.is_err();
        reply
    }

    fn exchange(&mut self, request: &Value) -> Result<Value> {
        let died = || format!("the peer ended; its messages are in {}", self.log.display());
        writeln!(self.requests, "{request}").with_context(died)?;
        self.requests.flush().with_context(died)?;
        let mut line = String::new();
        let read = self.replies.read_line(&mut line).with_context(died)?;
        ensure!(read > 0, died());
        let reply: Value = serde_json::from_str(&line).with_context(|| {
            format!(
                "the peer's reply {line:?}; its messages are in {}",
                self.log.display()
            )
        })?;
        if let Some(error) = reply["error"].as_str() {
            bail!(
                "the peer failed: {error}; its messages are in {}",
                self.log.display()
            );
        }
        Ok(reply)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !self.failed {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

/// A tensor by its name.
///
/// # Errors
/// If the peer did not send it.
pub fn tensor<'a>(tensors: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    tensors
        .get(name)
        .with_context(|| format!("the peer sent no tensor {name:?}"))
}
