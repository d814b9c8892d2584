//! The machine and glassbox's own version.

use std::process::Command;

use glassbox_kernels::{Backend as _, CpuBackend};

/// Processor, cores and instruction set.
pub fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .find(|line| line.starts_with("model name"))
                .and_then(|line| line.split_once(':'))
                .map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{processor}, {cores} cores, {}", CpuBackend.instruction_set())
}

/// Version of glassbox, with the commit it was built from where git says.
pub fn glassbox_version() -> String {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match commit {
        Some(commit) => format!("glassbox {} ({commit})", env!("CARGO_PKG_VERSION")),
        None => format!("glassbox {}", env!("CARGO_PKG_VERSION")),
    }
}

/// Processes that wanted to run in the last minute, where the system says.
pub fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
