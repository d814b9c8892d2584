//! `kill-test`: runs killed at random moments and resumed, whole and in shards, end with the tables of a run that nothing
//! disturbed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::program::{Program, finished, root};
use crate::small_scenario;

/// Flags of `kill-test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Processes to kill, in all.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Shards of every other run.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
    /// Seed of the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program to test; without it the release is built.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Runs the test.
///
/// # Errors
/// If a run ends otherwise than killed or done, or a table differs.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = root().join("target/kill-test");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let settings = [
        ("select.top_per_layer", 1.into()),
        ("select.max_prompts", 24.into()),
        ("sweep.trials", 2.into()),
        ("sweep.max_prompts", 3.into()),
        ("sweep.max_new_tokens", 16.into()),
        ("sweep.batch_rows", 16.into()),
        ("sweep.unit_trials", 32.into()),
        ("sweep.controls_per_feature", 2.into()),
        ("pathways.sources", 2.into()),
        ("pathways.second_wave", 1.into()),
        ("pathways.control_sources", 1.into()),
        ("pathways.trials", 1.into()),
        ("pathways.max_prompts", 3.into()),
        ("words.min_responses", 2.into()),
    ];
    let mut test = KillTest {
        program: Program::find(arguments.program.as_deref())?,
        scenario: small_scenario::write(&folder, &settings)?,
        folder,
        random: ChaCha8Rng::seed_from_u64(arguments.seed),
        kills_left: arguments.kills,
        kills: BTreeMap::new(),
        duration: Duration::ZERO,
    };
    let reference = test.folder.join("reference");
    let since = Instant::now();
    test.program.run(&test.command("run", &reference, 2, &[]))?;
    test.duration = since.elapsed();
    let expected = tables(&reference)?;
    println!(
        "reference: {} tables in {:.1} s",
        expected.len(),
        test.duration.as_secs_f64()
    );
    let mut rounds = 0;
    // Once whole and once in shards at least, with one thread and with two.
    while test.kills_left > 0 || rounds < 4 {
        let threads = 1 + rounds / 2 % 2;
        let out = test.folder.join(format!("round-{rounds}"));
        if rounds % 2 == 0 {
            test.until_done("run", &out, threads, &[])?;
        } else {
            test.in_shards(&out, arguments.shards, threads)?;
        }
        compare(&expected, &out)?;
        fs::remove_dir_all(&out)?;
        rounds += 1;
    }
    let kills: u32 = test.kills.values().sum();
    println!(
        "{rounds} runs, every other one in {} shards; {kills} kills:",
        arguments.shards
    );
    for (place, kills) in &test.kills {
        println!("  {kills:>4} during {place}");
    }
    println!("all {} tables of every run are byte-identical", expected.len());
    Ok(())
}

struct KillTest {
    program: Program,
    scenario: PathBuf,
    folder: PathBuf,
    random: ChaCha8Rng,
    kills_left: u32,
    /// Kills by what the process was doing.
    kills: BTreeMap<String, u32>,
    /// Of the run that nothing disturbed.
    duration: Duration,
}

impl KillTest {
    fn command(&self, verb: &str, out: &Path, threads: u32, rest: &[String]) -> Vec<String> {
        let mut command = vec![
            verb.to_owned(),
            self.scenario.display().to_string(),
            "--out".to_owned(),
            out.display().to_string(),
            format!("--threads={threads}"),
        ];
        command.extend_from_slice(rest);
        command
    }

    fn until_done(&mut self, verb: &str, out: &Path, threads: u32, rest: &[String]) -> anyhow::Result<()> {
        let mut command = self.command(verb, out, threads, rest);
        command.push("--resume".to_owned());
        self.repeat(&command, out)
    }

    /// Starts a command again and again, and kills it at a random moment, until it ends by itself.
    fn repeat(&mut self, command: &[String], out: &Path) -> anyhow::Result<()> {
        for attempt in 1.. {
            let mut child = self.program.start(command)?;
            if self.kills_left > 0 {
                // Later attempts live longer, so that stages without units of work are passed as well.
                let most = self.duration.mul_f64(0.15 * f64::from(attempt));
                let share = f64::from(self.random.next_u32()) / f64::from(u32::MAX);
                std::thread::sleep(most.mul_f64(share));
                if child.try_wait()?.is_none() {
                    child.kill()?;
                    child.wait()?;
                    self.kills_left -= 1;
                    *self.kills.entry(place(command, out)).or_default() += 1;
                    continue;
                }
            }
            return finished(command, &child.wait_with_output()?);
        }
        Ok(())
    }

    fn in_shards(&mut self, out: &Path, count: u32, threads: u32) -> anyhow::Result<()> {
        let mut merge = vec!["merge".to_owned()];
        for index in 0..count {
            let shard = out.join(format!("shard-{index}"));
            let flag = format!("--shard={index}/{count}");
            fs::create_dir_all(out)?;
            self.until_done("sweep", &shard, threads, &[flag])?;
            merge.push(shard.display().to_string());
        }
        let merged = out.join("merged");
        merge.extend([
            "--out".to_owned(),
            merged.display().to_string(),
            "--resume".to_owned(),
        ]);
        self.repeat(&merge, &merged)?;
        self.until_done("run", &merged, threads, &[])
    }
}

/// What a killed process was doing: its verb, and the first stage that is not complete.
fn place(command: &[String], out: &Path) -> String {
    let verb = command.first().cloned().unwrap_or_default();
    let stage = fs::read(out.join("manifest.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .and_then(|manifest| {
            let stages = manifest.get("stages")?.as_array()?.clone();
            let open = stages.iter().find(|stage| stage["status"] != "complete");
            Some(open.map_or_else(
                || "after the last stage".to_owned(),
                |stage| stage["name"].as_str().unwrap_or_default().to_owned(),
            ))
        });
    format!(
        "{verb}, {}",
        stage.unwrap_or_else(|| "before the manifest".to_owned())
    )
}

/// Every table of a run by its name, and the report.
fn tables(run: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                walk(root, &path, found)?;
            } else if path
                .extension()
                .is_some_and(|extension| extension == "parquet" || extension == "html")
            {
                let name = path.strip_prefix(root)?.display().to_string();
                found.insert(name, fs::read(&path)?);
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    walk(run, run, &mut found)?;
    Ok(found)
}

fn compare(expected: &BTreeMap<String, Vec<u8>>, out: &Path) -> anyhow::Result<()> {
    let merged = out.join("merged");
    let run = if merged.is_dir() { merged } else { out.to_owned() };
    let found = tables(&run)?;
    let differing: Vec<&String> = expected
        .keys()
        .chain(found.keys())
        .filter(|name| expected.get(*name) != found.get(*name))
        .collect();
    if !differing.is_empty() {
        bail!("{} differs from the reference in {differing:?}", run.display());
    }
    Ok(())
}
