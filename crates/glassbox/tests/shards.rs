//! A sweep in several processes: in one folder or in folders of their own, killed or not, it ends as in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::experiment::{assert_same_results, write_experiment};
use support::{change_json, change_text, glassbox, is_one_message, prints, prints_json, refuses};
use tempfile::TempDir;

struct Experiment {
    folder: TempDir,
    scenario: PathBuf,
}

impl Experiment {
    fn new(trials: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenario = write_experiment(folder.path(), trials);
        Self { folder, scenario }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments<'a>(&'a self, verb: &'a str, out: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
        [&[verb, text(&self.scenario), "--out", text(out)], rest].concat()
    }

    /// Runs a verb to its end.
    fn prints(&self, verb: &str, out: &Path, rest: &[&str]) -> String {
        prints(&self.arguments(verb, out, rest))
    }

    fn run(&self, name: &str, rest: &[&str]) -> PathBuf {
        let out = self.path(name);
        self.prints("run", &out, rest);
        out
    }

    /// All shards, each in a folder of its own.
    fn shards(&self, count: u32) -> Vec<PathBuf> {
        (0..count)
            .map(|index| {
                let out = self.path(&format!("shard-{index}"));
                self.prints("sweep", &out, &["--shard", &format!("{index}/{count}")]);
                out
            })
            .collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn merge<'a>(shards: &'a [PathBuf], out: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
    let shards: Vec<&str> = shards.iter().map(|shard| text(shard)).collect();
    [&["merge"], &shards[..], &["--out", text(out)], rest].concat()
}

#[test]
fn four_shards_merged_are_the_run_of_one_process() {
    let experiment = Experiment::new(2);
    let whole = experiment.run("whole", &["--threads", "1"]);
    let shards = experiment.shards(4);
    let out = experiment.path("merged");
    let merged = prints_json(&merge(&shards, &out, &["--json"]));
    let trials = fs::read_dir(whole.join("trials")).unwrap().count() as u64 / 2;
    assert_eq!(
        (merged["sources"].as_u64(), merged["units"].as_u64()),
        (Some(4), Some(trials))
    );
    experiment.prints("run", &out, &["--resume", "--threads", "2"]);
    assert_same_results(&whole, &out);
    // Nothing of the sweep was done again, and a merged folder is not merged over.
    refuses(
        &merge(&shards, &out, &[]),
        2,
        &["already holds a run", "--resume"],
    );
    prints(&merge(&shards, &out, &["--resume"]));
    assert_same_results(&whole, &out);
}

#[test]
fn shards_that_share_a_folder_need_no_merge() {
    let experiment = Experiment::new(2);
    let whole = experiment.run("whole", &[]);
    let out = experiment.path("shared");
    // All begin at once: one of them plans, the others wait for it.
    let children: Vec<Child> = (0..3)
        .map(|index| {
            let shard = format!("{index}/3");
            spawn(&experiment.arguments("sweep", &out, &["--shard", &shard]))
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let repeated = experiment.arguments("sweep", &out, &["--shard", "1/3"]);
    refuses(&repeated, 2, &["already holds a run", "--resume"]);
    let again = prints_json(&experiment.arguments("sweep", &out, &["--shard", "1/3", "--resume", "--json"]));
    assert_eq!(again["trials_now"], 0);
    refuses(
        &experiment.arguments("sweep", &out, &["--shard", "1/4", "--resume"]),
        2,
        &["begun as 3 shards, not 4"],
    );
    experiment.prints("run", &out, &["--resume"]);
    assert_same_results(&whole, &out);
    assert_eq!(fs::read_dir(out.join("shards")).unwrap().count(), 3);
}

#[test]
fn a_sweep_alone_goes_on_as_a_run() {
    let experiment = Experiment::new(1);
    let whole = experiment.run("whole", &[]);
    let out = experiment.path("sweep");
    let printed = experiment.prints("sweep", &out, &[]);
    assert!(
        printed.contains("glassbox run") && printed.contains("--resume"),
        "{printed}"
    );
    assert!(!out.join("causal.parquet").exists());
    experiment.prints("run", &out, &["--resume"]);
    assert_same_results(&whole, &out);
}

#[test]
fn a_plan_made_once_is_taken_over_and_processors_are_mixed_only_if_allowed() {
    let experiment = Experiment::new(1);
    let whole = experiment.run("whole", &[]);
    let plan = experiment.path("plan");
    experiment.prints("sweep", &plan, &["--plan-only"]);
    assert!(plan.join("plan.parquet").exists() && !plan.join("trials/unit-0000000.json").exists());
    // As if the plan had been made elsewhere.
    change_json(&plan.join("manifest.json"), |manifest| {
        manifest["instruction_set"] = "another".into();
    });
    let shards: Vec<PathBuf> = ["0/2", "1/2"]
        .iter()
        .map(|shard| {
            let out = experiment.path(&shard.replace('/', "-"));
            experiment.prints("sweep", &out, &["--shard", shard, "--plan", text(&plan)]);
            out
        })
        .collect();
    for name in ["plan.parquet", "selection.parquet", "prompts.parquet"] {
        assert_eq!(
            fs::read(shards[1].join(name)).unwrap(),
            fs::read(whole.join(name)).unwrap()
        );
    }
    // The second shard, as another processor would have made it.
    change_json(&shards[1].join("manifest.json"), |manifest| {
        manifest["instruction_set"] = "another".into();
    });
    for entry in fs::read_dir(shards[1].join("trials")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            change_json(&path, |record| {
                record["origin"]["instruction_set"] = "another".into()
            });
        }
    }
    let out = experiment.path("merged");
    refuses(
        &merge(&shards, &out, &[]),
        2,
        &["1-2: another", "--allow-mixed-processors"],
    );
    assert!(!out.exists());
    let merged = prints_json(&merge(&shards, &out, &["--allow-mixed-processors", "--json"]));
    assert_eq!(merged["instruction_sets"].as_array().unwrap().len(), 2);
    experiment.prints("run", &out, &["--resume"]);
    assert_same_results(&whole, &out);
}

#[test]
fn shards_that_do_not_make_a_whole_are_named() {
    let experiment = Experiment::new(1);
    let shards = experiment.shards(3);
    let out = experiment.path("merged");
    // A gap can be closed: exit code 3.
    refuses(
        &merge(&shards[..2], &out, &[]),
        3,
        &["units of the sweep", "unit-0000002", "shards 2/3", "--resume"],
    );
    let twice = [&shards[..], &shards[..1]].concat();
    refuses(&merge(&twice, &out, &[]), 2, &["shard-0", "twice"]);
    let copy = experiment.path("copy");
    support::copy_folder(&shards[0], &copy);
    let doubled = [&shards[..], &[copy]].concat();
    refuses(
        &merge(&doubled, &out, &[]),
        2,
        &["unit-0000000", "shard-0", "copy"],
    );
    let nothing = experiment.path("nothing");
    refuses(
        &merge(&[nothing], &out, &[]),
        2,
        &["nothing", "not a run directory"],
    );

    let unit = shards[1].join("trials/unit-0000001.parquet");
    let bytes = fs::read(&unit).unwrap();
    fs::write(&unit, &bytes[..bytes.len() - 1]).unwrap();
    refuses(
        &merge(&shards, &out, &[]),
        3,
        &["shard-1", "unit-0000001", "damaged", "--resume"],
    );
    fs::write(&unit, &bytes).unwrap();

    let other = experiment.path("other");
    change_text(&experiment.scenario, "max_new_tokens = 6", "max_new_tokens = 5");
    experiment.prints("sweep", &other, &["--shard", "2/3"]);
    let mixed = [&shards[..2], &[other]].concat();
    refuses(
        &merge(&mixed, &out, &[]),
        2,
        &["config.sweep.max_new_tokens", "stored 5, now 6"],
    );
    assert!(!out.exists(), "nothing was written");
}

#[test]
fn the_index_comes_from_the_scheduler() {
    let experiment = Experiment::new(1);
    let out = experiment.path("run");
    let output = glassbox()
        .args(experiment.arguments("sweep", &out, &["--shard-count", "2", "--json"]))
        .env("SLURM_ARRAY_TASK_ID", "1")
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["shard"], serde_json::json!({ "index": 1, "count": 2 }));
    let output = glassbox()
        .args(experiment.arguments("sweep", &out, &[]))
        .env("JOB_COMPLETION_INDEX", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    is_one_message(
        &String::from_utf8(output.stderr).unwrap(),
        &["JOB_COMPLETION_INDEX", "--shard-count"],
    );
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_glassbox"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until some units of a run are complete and the process is still at work.
fn wait_for_units(child: &mut Child, run: &Path) {
    let units = || fs::read_dir(run.join("trials")).map_or(0, Iterator::count);
    let before = units();
    for _ in 0..30_000 {
        if units() > before + 2 {
            return;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be stopped"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no units within a minute");
}

#[cfg(unix)]
#[test]
fn a_shard_is_done_by_one_process_and_stops_at_a_signal() {
    let experiment = Experiment::new(400);
    let out = experiment.path("run");
    let shard = experiment.arguments("sweep", &out, &["--shard", "0/2", "--resume"]);
    let mut child = spawn(&shard);
    wait_for_units(&mut child, &out);
    refuses(&shard, 2, &["in use by another process", "process "]);
    // Neither may a run of all stages begin beside it.
    refuses(
        &experiment.arguments("run", &out, &["--resume"]),
        2,
        &["in use by another process"],
    );
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", child.id())])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let again = format!(
        "hint: continue with: glassbox sweep {} --out {} --shard 0/2 --resume",
        text(&experiment.scenario),
        text(&out)
    );
    is_one_message(&stderr, &["stopped during sweep", &again]);
    let record = fs::read_to_string(out.join("shards/shard-0-of-2.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["complete"], false);
    assert!(record["trials"].as_u64().unwrap() > 0, "{record}");

    // A killed process leaves a lock that nobody holds.
    let mut child = spawn(&shard);
    wait_for_units(&mut child, &out);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = spawn(&shard);
    wait_for_units(&mut child, &out);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn killed_shards_merged_are_the_run_of_one_process() {
    let experiment = Experiment::new(12);
    let whole = experiment.run("whole", &["--threads", "2"]);
    let shards: Vec<PathBuf> = (0..2)
        .map(|index| {
            let out = experiment.path(&format!("shard-{index}"));
            let shard = format!("{index}/2");
            let arguments =
                experiment.arguments("sweep", &out, &["--shard", &shard, "--resume", "--threads", "1"]);
            for milliseconds in [5, 60, 150] {
                let mut child = spawn(&arguments);
                std::thread::sleep(Duration::from_millis(milliseconds));
                child.kill().unwrap();
                child.wait().unwrap();
            }
            prints(&arguments);
            out
        })
        .collect();
    let out = experiment.path("merged");
    let mut child = spawn(&merge(&shards, &out, &["--resume"]));
    std::thread::sleep(Duration::from_millis(15));
    child.kill().unwrap();
    child.wait().unwrap();
    prints(&merge(&shards, &out, &["--resume"]));
    experiment.prints("run", &out, &["--resume"]);
    assert_same_results(&whole, &out);
}
