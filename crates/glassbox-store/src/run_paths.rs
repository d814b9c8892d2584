//! Where the files of a run lie, and how finished ones are read.

use std::path::{Path, PathBuf};

use crate::hash::file_mismatch;
use crate::{Manifest, Row, StoreError, read_table};

/// Name of the manifest in a run directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Where the files of a run lie. Reading needs no more than this; writing needs a [`RunDirectory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPaths {
    root: PathBuf,
}

macro_rules! paths {
    ($($(#[doc = $doc:literal])+ $name:ident: $file:literal;)*) => {
        $($(#[doc = $doc])+ pub fn $name(&self) -> PathBuf { self.root.join($file) })*
    };
}

impl RunPaths {
    /// The paths of a run in this folder, whether or not it exists.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// The paths of a run that is there.
    ///
    /// # Errors
    /// [`StoreError::NoRun`] if the folder has no manifest.
    pub fn of_existing(root: &Path) -> Result<Self, StoreError> {
        let paths = Self::new(root);
        if !paths.manifest().is_file() {
            return Err(StoreError::NoRun {
                path: root.to_path_buf(),
                file: MANIFEST_FILE,
            });
        }
        Ok(paths)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join(MANIFEST_FILE)
    }

    paths! {
        /// The plan: one row per unit of work.
        plan: "plan.parquet";
        /// The selected features.
        selection: "selection.parquet";
        /// The prompts.
        prompts: "prompts.parquet";
        /// Folder of the records of a sweep's shards, if several processes do it.
        shards: "shards";
        /// Folder of the trials' shards.
        trials: "trials";
        /// Folder of the recorded features' shards.
        features: "features";
        /// Effects of each feature.
        causal: "causal.parquet";
        /// Effects of features on later features.
        pathways: "pathways.parquet";
        /// Pathways joined end to end.
        chains: "chains.parquet";
        /// Words that features control.
        words: "words.parquet";
        /// What the controls gave.
        controls: "controls.parquet";
        /// The report.
        report: "report.html";
        /// The findings for machines.
        findings: "findings.json";
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], and those of [`Manifest::read`].
    pub fn read_manifest(&self) -> Result<Manifest, StoreError> {
        Self::of_existing(&self.root)?;
        Manifest::read(&self.manifest())
    }

    /// Reads a finished table after comparing it with what the manifest says of it.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] if the manifest does not have it, [`StoreError::Damaged`], and those of [`read_table`].
    pub fn read_table<R: Row>(&self, manifest: &Manifest, path: &Path) -> Result<Vec<R>, StoreError> {
        let unfinished = || StoreError::Unfinished {
            path: path.to_path_buf(),
        };
        let file = manifest.files.get(&self.name_of(path)).ok_or_else(unfinished)?;
        match file_mismatch(path, file.bytes, file.checksum)? {
            Some(reason) => Err(StoreError::Damaged {
                path: path.to_path_buf(),
                reason,
            }),
            None => read_table(path),
        }
    }

    /// The name of a file in the manifest: its path within the run directory.
    pub(crate) fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    }

    /// Compares the finished files with what the manifest says of them, and returns those that differ. The shards have their own records:
    /// see [`ShardStore`](crate::ShardStore).
    ///
    /// # Errors
    /// [`StoreError::Io`] if a file is there but cannot be read.
    pub fn damaged_files(&self, manifest: &Manifest) -> Result<Vec<StoreError>, StoreError> {
        let mut damaged = Vec::new();
        for (name, file) in &manifest.files {
            let path = self.root.join(name);
            if let Some(reason) = file_mismatch(&path, file.bytes, file.checksum)? {
                damaged.push(StoreError::Damaged { path, reason });
            }
        }
        Ok(damaged)
    }
}
