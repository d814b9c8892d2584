//! The folder of a run: who may write into it, where its files lie, and which stages are done.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::atomic::sync_folder;
use crate::hash::file_mismatch;
use crate::{
    AtomicFile, FinalFile, Manifest, Row, StageStatus, Storage, StoreError, TEMPORARY_PREFIX, WrittenTable,
    read_table, remove_temporaries, write_bytes, write_json, write_table,
};

/// Name of the manifest in a run directory.
pub const MANIFEST_FILE: &str = "manifest.json";
const LOCK_FILE: &str = ".lock";

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
    fn name_of(&self, path: &Path) -> String {
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

/// A run directory that this process alone writes into.
#[derive(Debug)]
pub struct RunDirectory {
    paths: RunPaths,
    manifest: Manifest,
    storage: Storage,
    /// The operating system gives the lock back when the file is closed, also after a kill.
    _lock: File,
}

impl RunDirectory {
    /// Begins a run in `root`, which is made if needed and must otherwise be empty. With `resume`, a run that is there is continued if its
    /// manifest is compatible with `manifest`; if none is there, one is begun all the same, since a run may be killed before it has written
    /// anything.
    ///
    /// # Errors
    /// [`StoreError::RunExists`], [`StoreError::NotARun`], [`StoreError::Incompatible`], [`StoreError::Locked`],
    /// [`StoreError::Unwritable`], [`StoreError::DiskFull`], and those of [`Manifest::read`].
    pub fn create(
        storage: &Storage,
        root: &Path,
        manifest: Manifest,
        resume: bool,
    ) -> Result<Self, StoreError> {
        let paths = RunPaths::new(root);
        let failed = |cause| StoreError::from_write(root, cause);
        // Before the folder is touched: a refused folder must stay as it is.
        refuse_other_content(root)?;
        fs::create_dir_all(root).map_err(failed)?;
        let lock = lock(root)?;
        remove_temporaries(root)?;
        if paths.manifest().exists() {
            if !resume {
                return Err(StoreError::RunExists {
                    path: root.to_path_buf(),
                });
            }
            let stored = Manifest::read(&paths.manifest())?;
            stored.ensure_compatible(&manifest, root)?;
            let mut run = Self {
                paths,
                manifest: stored,
                storage: storage.clone(),
                _lock: lock,
            };
            run.update(|stored| {
                stored.execution = manifest.execution;
                stored.plan_hash = stored.plan_hash.or(manifest.plan_hash);
                Ok(())
            })?;
            return Ok(run);
        }
        let mut run = Self {
            paths,
            manifest,
            storage: storage.clone(),
            _lock: lock,
        };
        run.update(|_| Ok(()))?;
        if let Some(parent) = root.parent().filter(|parent| parent.is_dir()) {
            sync_folder(parent).map_err(failed)?;
        }
        Ok(run)
    }

    /// Opens a run that is there, for writing, removes what a killed process left, and checks that the folder can be written.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], [`StoreError::Locked`], [`StoreError::Unwritable`], [`StoreError::DiskFull`], and those of
    /// [`Manifest::read`].
    pub fn open(storage: &Storage, root: &Path) -> Result<Self, StoreError> {
        let paths = RunPaths::of_existing(root)?;
        let lock = lock(root)?;
        remove_temporaries(root)?;
        let manifest = Manifest::read(&paths.manifest())?;
        let mut probe = AtomicFile::create(storage, &root.join("probe"))?;
        probe
            .write_all(b"probe")
            .map_err(|cause| StoreError::from_write(root, cause))?;
        drop(probe);
        Ok(Self {
            paths,
            manifest,
            storage: storage.clone(),
            _lock: lock,
        })
    }

    /// Where the files lie.
    pub fn paths(&self) -> &RunPaths {
        &self.paths
    }

    /// The storage through which this run writes.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Changes the manifest and writes it. If the change or the writing fails, the manifest stays as it was, in memory and on disk.
    ///
    /// # Errors
    /// Those of `change` and of [`Manifest::write`].
    pub fn update(
        &mut self,
        change: impl FnOnce(&mut Manifest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut manifest = self.manifest.clone();
        change(&mut manifest)?;
        manifest.write(&self.storage, &self.paths.manifest())?;
        self.manifest = manifest;
        Ok(())
    }

    /// Marks a stage as running, without the figures of an earlier attempt.
    ///
    /// # Errors
    /// [`StoreError::NoStage`] and those of [`RunDirectory::update`].
    pub fn start_stage(&mut self, name: &str) -> Result<(), StoreError> {
        self.update(|manifest| {
            let stage = manifest.stage_mut(name)?;
            stage.status = StageStatus::Running;
            (stage.seconds, stage.rows) = (None, None);
            stage.figures.clear();
            for file in std::mem::take(&mut stage.files) {
                manifest.files.remove(&file);
            }
            Ok(())
        })
    }

    /// Marks a stage as complete, with the time it took, the rows it made, and further figures by name.
    ///
    /// # Errors
    /// [`StoreError::NoStage`] and those of [`RunDirectory::update`].
    pub fn complete_stage(
        &mut self,
        name: &str,
        seconds: f64,
        rows: u64,
        figures: &[(&str, f64)],
    ) -> Result<(), StoreError> {
        self.update(|manifest| {
            let stage = manifest.stage_mut(name)?;
            stage.status = StageStatus::Complete;
            (stage.seconds, stage.rows) = (Some(seconds), Some(rows));
            stage.figures = figures
                .iter()
                .map(|(name, value)| ((*name).to_string(), *value))
                .collect();
            Ok(())
        })
    }

    /// Whether a stage is complete and all the files it made are still as they were written; a resumed run skips it then.
    ///
    /// # Errors
    /// [`StoreError::NoStage`], [`StoreError::Io`].
    pub fn is_stage_complete(&self, name: &str) -> Result<bool, StoreError> {
        let stage = self.manifest.stage(name)?;
        if stage.status != StageStatus::Complete {
            return Ok(false);
        }
        for name in &stage.files {
            let Some(file) = self.manifest.files.get(name) else {
                return Ok(false);
            };
            if file_mismatch(&self.paths.root.join(name), file.bytes, file.checksum)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a table of a stage and records it in the manifest. `path` is one of [`RunPaths`].
    ///
    /// # Errors
    /// Those of [`write_table`] and [`RunDirectory::update`], and [`StoreError::NoStage`].
    pub fn write_table<R: Row>(
        &mut self,
        stage: &str,
        path: &Path,
        rows: &[R],
    ) -> Result<WrittenTable, StoreError> {
        let table = write_table(&self.storage, path, rows)?;
        self.record(stage, path, FinalFile::new(Some(table.rows), &table.file))?;
        Ok(table)
    }

    /// Writes a JSON file of a stage and records it in the manifest.
    ///
    /// # Errors
    /// Those of [`write_json`] and [`RunDirectory::update`], and [`StoreError::NoStage`].
    pub fn write_json<T: Serialize + ?Sized>(
        &mut self,
        stage: &str,
        path: &Path,
        value: &T,
    ) -> Result<(), StoreError> {
        let file = write_json(&self.storage, path, value)?;
        self.record(stage, path, FinalFile::new(None, &file))
    }

    /// Writes any other file of a stage, such as the report, and records it in the manifest.
    ///
    /// # Errors
    /// Those of [`write_bytes`] and [`RunDirectory::update`], and [`StoreError::NoStage`].
    pub fn write_bytes(&mut self, stage: &str, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let file = write_bytes(&self.storage, path, bytes)?;
        self.record(stage, path, FinalFile::new(None, &file))
    }

    /// Records a table that a [`TableWriter`](crate::TableWriter) has finished for a stage.
    ///
    /// # Errors
    /// [`StoreError::NoStage`] and those of [`RunDirectory::update`].
    pub fn record_table(&mut self, stage: &str, table: &WrittenTable) -> Result<(), StoreError> {
        self.record(
            stage,
            &table.file.path,
            FinalFile::new(Some(table.rows), &table.file),
        )
    }

    fn record(&mut self, stage: &str, path: &Path, file: FinalFile) -> Result<(), StoreError> {
        let name = self.paths.name_of(path);
        self.update(|manifest| {
            let files = &mut manifest.stage_mut(stage)?.files;
            if !files.contains(&name) {
                files.push(name.clone());
            }
            manifest.files.insert(name, file);
            Ok(())
        })
    }
}

/// Refuses a folder that holds something other than a run, or the remains of one that was killed at its beginning.
fn refuse_other_content(root: &Path) -> Result<(), StoreError> {
    let unreadable = |cause| StoreError::Io {
        action: "read the folder",
        path: root.to_path_buf(),
        cause,
    };
    let entries = match fs::read_dir(root) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|cause| StoreError::from_write(root, cause))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(
            entry
                .map_err(unreadable)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.retain(|name| name != LOCK_FILE && !name.starts_with(TEMPORARY_PREFIX));
    if names.is_empty() || names.iter().any(|name| name == MANIFEST_FILE) {
        return Ok(());
    }
    names.sort();
    names.truncate(5);
    Err(StoreError::NotARun {
        path: root.to_path_buf(),
        entries: names,
    })
}

/// Takes the lock of a run directory. The file stays when the run ends; only the operating system's lock on it counts.
fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK_FILE);
    let failed = |cause| StoreError::from_write(&path, cause);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let holder = if text.trim().is_empty() {
                "of unknown number".to_string()
            } else {
                text.trim().to_string()
            };
            return Err(StoreError::Locked {
                path: root.to_path_buf(),
                holder,
            });
        }
        Err(TryLockError::Error(cause)) => {
            return Err(StoreError::Io {
                action: "lock (does this file system support locks?)",
                path,
                cause,
            });
        }
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "process {}", std::process::id()).map_err(failed)?;
    Ok(file)
}
