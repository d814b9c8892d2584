//! The course of the benchmark.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bench_logs::arguments::Arguments;
use crate::bench_logs::comparison::Comparison;
use crate::bench_logs::measured::{self, Side, Work, targets};
use crate::bench_logs::peer::{Peer, Style};
use crate::bench_logs::process::{Cost, run as run_process};
use crate::bench_logs::table;
use crate::bench_peers::{glassbox_version, load, machine};
use crate::program::{Program, root};
use crate::{marked_place, synthetic_logs};

const VERBS: [&str; 3] = ["audit", "causal", "words"];
/// Outcomes are read from every response with this parser.
const PARSER: &str = "b-complete";

/// Measures, compares and prints.
///
/// # Errors
/// If a side fails, or the sides do not compute the same.
pub fn run(arguments: &Arguments) -> Result<()> {
    let absolute = |folder: &Path| {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::path::absolute(folder).with_context(|| format!("find {}", folder.display()))
    };
    if !arguments.logs.exists() {
        synthetic_logs::run(&synthetic_logs::Arguments::of_the_studys_size(&arguments.logs))?;
    }
    let out = absolute(&arguments.out)?;
    let logs = std::path::absolute(&arguments.logs)?;
    let parser = root().join(format!("crates/glassbox-logs/parsers/{PARSER}.toml"));
    let bench = Bench {
        program: Program::find(arguments.program.as_deref())?,
        peer: Peer::new(
            arguments.python.as_deref(),
            &logs,
            &parser,
            arguments.threads,
            &out,
        )?,
        styles: match arguments.style.as_slice() {
            [] => Style::ALL.to_vec(),
            chosen => chosen.to_vec(),
        },
        logs,
        out,
        threads: arguments.threads,
    };
    let load_before = load();
    if let Some(load) = load_before.filter(|load| *load > 0.5) {
        eprintln!(
            "something else runs on this machine (load {load}): times will be too long and ratios uncertain"
        );
    }
    let mut works = bench.works();
    let mut comparison = Comparison::default();
    for round in 0..arguments.rounds {
        bench.round(&mut works)?;
        if round == 0 {
            bench.compare(&mut comparison)?;
        }
        eprintln!("round {} of {}", round + 1, arguments.rounds);
    }
    let result = measured::Result {
        targets: targets(&works),
        works,
        check: comparison.to_string(),
        logs: bench.describe_logs()?,
        machine: machine(),
        threads: arguments.threads,
        versions: format!("{}; {}", glassbox_version(), bench.peer.versions()?),
        load_before,
    };
    if let Some(file) = &arguments.markdown {
        marked_place::fill(file, "bench-logs", &table::markdown(&result))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        print!("{}", table::terminal(&result));
    }
    Ok(())
}

struct Bench {
    program: Program,
    peer: Peer,
    styles: Vec<Style>,
    logs: PathBuf,
    out: PathBuf,
    threads: u32,
}

impl Bench {
    fn works(&self) -> Vec<Work> {
        let work = |name: &str, note| Work {
            name: name.to_owned(),
            note,
            glassbox: Side::new("glassbox"),
            peers: self
                .styles
                .iter()
                .map(|style| Side::new(style.to_string()))
                .collect(),
        };
        let mut works: Vec<Work> = VERBS.iter().map(|verb| work(verb, "")).collect();
        works.push(work(
            "all three",
            "glassbox reads the log once for each verb, the peer once in all",
        ));
        works
    }

    /// Every work once, by every side in turn.
    fn round(&self, works: &mut [Work]) -> Result<()> {
        let mut all = Cost {
            seconds: 0.0,
            processor: 0.0,
            peak: 0,
        };
        for (verb, work) in VERBS.iter().zip(works.iter_mut()) {
            let own = self.verb(verb)?;
            work.glassbox.add(own);
            all = Cost {
                seconds: all.seconds + own.seconds,
                processor: all.processor + own.processor,
                peak: all.peak.max(own.peak),
            };
            for (style, side) in self.styles.iter().zip(&mut work.peers) {
                side.add(self.peer.run(*style, &[verb])?);
            }
        }
        if let Some(work) = works.last_mut() {
            work.glassbox.add(all);
            for (style, side) in self.styles.iter().zip(&mut work.peers) {
                side.add(self.peer.run(*style, &VERBS)?);
            }
        }
        Ok(())
    }

    /// Where glassbox's result of a verb is.
    fn result(&self, verb: &str) -> PathBuf {
        self.out.join(format!("glassbox-{verb}.json"))
    }

    fn verb(&self, verb: &str) -> Result<Cost> {
        let mut command = self.program.command();
        command
            .arg(verb)
            .arg(&self.logs)
            .args(["--parser", PARSER, "--json", "--quiet"])
            .args(["--threads", &self.threads.to_string()]);
        run_process(&mut command, &self.result(verb))
    }

    /// Compares what the sides computed, of each verb by itself and of all together.
    fn compare(&self, comparison: &mut Comparison) -> Result<()> {
        let read = |path: &Path| -> Result<Value> {
            let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| path.display().to_string())
        };
        for verb in VERBS {
            let own = read(&self.result(verb))?;
            for style in &self.styles {
                for work in [&[verb][..], &VERBS] {
                    let mut peer = read(&self.peer.result(*style, work))?;
                    comparison.add(verb, peer[verb].take(), &own)?;
                }
            }
        }
        Ok(())
    }

    fn describe_logs(&self) -> Result<String> {
        let path = self.result("audit");
        let audit: Value = serde_json::from_reader(std::io::BufReader::new(File::open(&path)?))?;
        let rows = audit["totals"]["rows"].as_u64();
        let files = audit["read"]["files"].as_array();
        let bytes: u64 = files
            .into_iter()
            .flatten()
            .filter_map(|file| file["bytes"].as_u64())
            .sum();
        ensure!(rows.is_some(), "{} says no number of rows", path.display());
        Ok(format!(
            "{} rows, {:.2} GB, parser {PARSER}",
            rows.unwrap_or_default(),
            bytes as f64 / 1e9
        ))
    }
}
