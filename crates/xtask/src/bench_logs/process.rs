//! A process run to its end, with its time and memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::program::high_water;

/// What a process took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Wall clock.
    pub seconds: f64,
    /// Seconds of all processors, of the process and all those that it started and waited for.
    pub processor: f64,
    /// Largest memory of the process and all those that it started: the sum of each one's peak, in bytes.
    pub peak: u64,
}

/// How often the memory is looked at. Peaks only rise, so the last look before the end counts.
const LOOK: Duration = Duration::from_millis(4);

/// Runs a command, its output into a file.
///
/// # Errors
/// If it can't be started, or ends with another code than 0 or 1 (a stated check that failed): with what it said.
pub fn run(command: &mut Command, output: &Path) -> Result<Cost> {
    let messages = output.with_extension("log");
    let create = |path: &Path| File::create(path).with_context(|| format!("make {}", path.display()));
    command
        .stdin(Stdio::null())
        .stdout(create(output)?)
        .stderr(create(&messages)?);
    let since = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let mut peaks = HashMap::new();
    while !has_ended(&child)? {
        look(child.id(), &mut peaks);
        std::thread::sleep(LOOK);
    }
    let seconds = since.elapsed().as_secs_f64();
    // It is there until it is waited for.
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let status = child.wait()?;
    if !matches!(status.code(), Some(0 | 1)) {
        let said = fs::read_to_string(&messages).unwrap_or_default();
        bail!("{command:?} ended with {status}: {said}");
    }
    Ok(Cost {
        seconds,
        processor: processor_seconds(&stat).context("/proc does not tell times; this needs Linux")?,
        peak: peaks.values().sum(),
    })
}

/// Whether a process has ended; it is not waited for.
fn has_ended(child: &Child) -> Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid.context("a process without a number")?), options)?;
    Ok(status.is_some())
}

/// Seconds in user and system mode that `/proc/PID/stat` states, those of children that were waited for included.
fn processor_seconds(stat: &str) -> Option<f64> {
    // The name in brackets may hold anything; the times are fields 14 to 17, the first after the name is 3.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<u64>() as f64 / clock_ticks_per_second() as f64)
}

/// Notes the peaks of a process and of those that it started.
fn look(process: u32, peaks: &mut HashMap<u32, u64>) {
    let folder = format!("/proc/{process}");
    let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
    if let Some(peak) = high_water(&status) {
        peaks.insert(process, peak);
    }
    let children = fs::read_to_string(format!("{folder}/task/{process}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
        look(child, peaks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_and_the_cost_of_a_process_and_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.txt");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.1 & sleep 0.1; echo done; exit 1"]);
        let cost = run(&mut command, &output).unwrap();
        assert_eq!(fs::read_to_string(&output).unwrap(), "done\n");
        assert!(
            cost.seconds > 0.09 && cost.peak > 0 && cost.processor < cost.seconds,
            "{cost:?}"
        );
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo no >&2; exit 2"]);
        let error = run(&mut failing, &output).unwrap_err().to_string();
        assert!(error.contains("no"), "{error}");
    }

    #[test]
    fn processor_seconds_are_read_behind_any_name() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194304 100 0 0 0 200 50 30 20 20 0 1 0 5";
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!(processor_seconds(stat), Some(300.0 / ticks));
        assert_eq!(processor_seconds("7 (a"), None);
    }
}
