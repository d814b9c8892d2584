//! Logs in temporary folders, and the study's published files where they are at hand.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};

use glassbox_logs::{Collected, Logs, ReadLimits};

/// Reads one text as a file of this name.
pub fn read_as(name: &str, text: impl AsRef<[u8]>) -> Collected {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Logs::find(&[path]).unwrap().collect().unwrap()
}

/// Reads one text with other limits.
pub fn read_limited(name: &str, text: impl AsRef<[u8]>, limits: ReadLimits) -> Collected {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Logs::find(&[path])
        .unwrap()
        .with_limits(limits)
        .collect()
        .unwrap()
}

/// A published file of the study; `None` where the shared folder (`GLASSBOX_SHARED`, or beside the repository) is not at hand.
pub fn study_file(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("GLASSBOX_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("data/slot-machine").join(name);
    path.is_file().then_some(path)
}
