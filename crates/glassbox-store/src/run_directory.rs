//! The folder of a run: who may write into it, and which stages are done.

use std::fs;
use std::io::Write;
use std::path::{Component, Path};

use serde::Serialize;

use crate::atomic::sync_folder;
use crate::hash::file_mismatch;
use crate::lock::{Doing, LOCK_FILE, Lock};
use crate::{
    AtomicFile, FinalFile, MANIFEST_FILE, Manifest, Row, RunPaths, StageStatus, Storage, StoreError,
    SweepShard, SweepShardRecord, TEMPORARY_PREFIX, TableWriter, WrittenTable, hash_bytes,
    remove_temporaries, write_bytes, write_json, write_table,
};

/// A run directory that this process writes into: alone, or as one shard of a sweep among others.
#[derive(Debug)]
pub struct RunDirectory {
    paths: RunPaths,
    manifest: Manifest,
    storage: Storage,
    lock: Lock,
    shared: bool,
    /// The lock of this process's shard, if it does one.
    _shard: Option<Lock>,
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
        make_folder(root)?;
        let lock = Lock::exclusive(root, LOCK_FILE, Doing::Running)?;
        remove_temporaries(root)?;
        if RunPaths::new(root).manifest().exists() && !resume {
            return Err(StoreError::RunExists {
                path: root.to_path_buf(),
            });
        }
        Self::begin(storage, root, manifest, lock, None)
    }

    /// Begins or continues a run as one of several processes, each of which does one shard of its sweep. As long as no other
    /// process is at work this one holds the run alone, so that it can plan, until [`RunDirectory::share`]; once `is_planned`
    /// says of the manifest that the plan is there, others may be at work already. Without `resume` the shard must not have been
    /// begun here.
    ///
    /// # Errors
    /// [`StoreError::Planning`] while another process plans: try again. [`StoreError::Locked`] if another process does this
    /// shard, or runs all stages. [`StoreError::RunExists`], [`StoreError::ShardCount`], else as [`RunDirectory::create`].
    pub fn join(
        storage: &Storage,
        root: &Path,
        manifest: Manifest,
        shard: SweepShard,
        resume: bool,
        is_planned: impl Fn(&Manifest) -> bool,
    ) -> Result<Self, StoreError> {
        make_folder(root)?;
        let own = Lock::exclusive(root, &shard.lock_name(), Doing::Running)?;
        let paths = RunPaths::new(root);
        let (lock, shared) = match Lock::exclusive(root, LOCK_FILE, Doing::Planning) {
            Ok(lock) => (lock, false),
            // Others share it, or one holds it alone.
            Err(StoreError::Locked { .. }) => (Lock::shared(root, LOCK_FILE)?, true),
            Err(error) => return Err(error),
        };
        if !shared {
            remove_temporaries(root)?;
        }
        let records = SweepShardRecord::read_all(&paths.shards())?;
        if let Some(other) = records
            .iter()
            .find(|record| record.shard.count() != shard.count())
        {
            return Err(StoreError::ShardCount {
                path: root.to_path_buf(),
                stored: other.shard.count(),
                requested: shard.count(),
            });
        }
        let is_begun = records.iter().any(|record| record.shard == shard);
        if !resume && paths.manifest().exists() && (is_begun || records.is_empty()) {
            return Err(StoreError::RunExists {
                path: root.to_path_buf(),
            });
        }
        let instruction_set = manifest.instruction_set.clone();
        let run = if shared {
            let stored = Manifest::read(&paths.manifest())?;
            stored.ensure_compatible(&manifest, root)?;
            if !is_planned(&stored) {
                let holder = "which holds it together with others".to_string();
                let path = root.to_path_buf();
                return Err(StoreError::Planning { path, holder });
            }
            Self {
                paths,
                manifest: stored,
                storage: storage.clone(),
                lock,
                shared,
                _shard: Some(own),
            }
        } else {
            Self::begin(storage, root, manifest, lock, Some(own))?
        };
        if !is_begun {
            let record = SweepShardRecord::begun(shard, &instruction_set);
            record.write(storage, &run.paths.shards())?;
        }
        Ok(run)
    }

    /// Lets the processes of other shards in. From now on the manifest cannot be changed.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process took the run meanwhile, and those of a failed write.
    pub fn share(&mut self) -> Result<(), StoreError> {
        if !self.shared {
            self.lock.share()?;
            self.shared = true;
        }
        Ok(())
    }

    /// The run under a lock: continued if its manifest is there and compatible, else begun.
    fn begin(
        storage: &Storage,
        root: &Path,
        manifest: Manifest,
        lock: Lock,
        shard: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let paths = RunPaths::new(root);
        let stored = if paths.manifest().exists() {
            let stored = Manifest::read(&paths.manifest())?;
            stored.ensure_compatible(&manifest, root)?;
            Some(stored)
        } else {
            None
        };
        let is_new = stored.is_none();
        let mut run = Self {
            paths,
            manifest: stored.unwrap_or_else(|| manifest.clone()),
            storage: storage.clone(),
            lock,
            shared: false,
            _shard: shard,
        };
        run.update(|stored| {
            stored.execution = manifest.execution;
            stored.plan_hash = stored.plan_hash.or(manifest.plan_hash);
            Ok(())
        })?;
        if let Some(parent) = root.parent().filter(|parent| is_new && parent.is_dir()) {
            sync_folder(parent).map_err(|cause| StoreError::from_write(root, cause))?;
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
        let lock = Lock::exclusive(root, LOCK_FILE, Doing::Running)?;
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
            lock,
            shared: false,
            _shard: None,
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
    /// [`StoreError::Shared`], and those of `change` and of [`Manifest::write`].
    pub fn update(
        &mut self,
        change: impl FnOnce(&mut Manifest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.shared {
            return Err(StoreError::Shared {
                path: self.paths.root().to_path_buf(),
            });
        }
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

    /// Takes a complete stage of another run over: its files, byte by byte, and its figures.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] if it is not complete there, [`StoreError::Damaged`], [`StoreError::NoStage`],
    /// [`StoreError::BadJson`] if its manifest names files outside of the run, and those of a failed write.
    pub fn adopt_stage(
        &mut self,
        name: &str,
        from: &RunPaths,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let stage = manifest.stage(name)?.clone();
        if stage.status != StageStatus::Complete {
            return Err(StoreError::Unfinished {
                path: from.manifest(),
            });
        }
        self.start_stage(name)?;
        for file in &stage.files {
            let inside = |part| matches!(part, Component::Normal(_));
            if !Path::new(file).components().all(inside) {
                return Err(StoreError::BadJson {
                    path: from.manifest(),
                    detail: format!("stage `{name}` has the file `{file}`, which lies outside of the run"),
                });
            }
            let path = from.root().join(file);
            let Some(expected) = manifest.files.get(file) else {
                return Err(StoreError::Unfinished { path });
            };
            let bytes = fs::read(&path).map_err(|cause| StoreError::Io {
                action: "read",
                path: path.clone(),
                cause,
            })?;
            if hash_bytes(&bytes) != expected.checksum {
                let reason = "its checksum is not that of its manifest".to_string();
                return Err(StoreError::Damaged { path, reason });
            }
            let own = self.paths.root().join(file);
            let written = write_bytes(&self.storage, &own, &bytes)?;
            self.record(name, &own, FinalFile::new(expected.rows, &written))?;
        }
        self.update(|own| {
            *own.stage_mut(name)? = stage;
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
            if file_mismatch(&self.paths.root().join(name), file.bytes, file.checksum)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a file of the run is recorded in the manifest and still as it was written.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn has_file(&self, path: &Path) -> Result<bool, StoreError> {
        match self.manifest.files.get(&self.paths.name_of(path)) {
            Some(file) => Ok(file_mismatch(path, file.bytes, file.checksum)?.is_none()),
            None => Ok(false),
        }
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

    /// As [`RunDirectory::write_table`], row by row: memory does not grow with their number.
    ///
    /// # Errors
    /// The first error among the rows, else as [`RunDirectory::write_table`].
    pub fn write_table_of<R: Row>(
        &mut self,
        stage: &str,
        path: &Path,
        rows: impl IntoIterator<Item = Result<R, StoreError>>,
    ) -> Result<WrittenTable, StoreError> {
        let mut writer = TableWriter::create(&self.storage, path)?;
        for row in rows {
            writer.push(row?)?;
        }
        let table = writer.finish()?;
        self.record_table(stage, &table)?;
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

/// Makes the folder of a run if needed; a refused folder stays as it is.
fn make_folder(root: &Path) -> Result<(), StoreError> {
    refuse_other_content(root)?;
    fs::create_dir_all(root).map_err(|cause| StoreError::from_write(root, cause))
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
    names.retain(|name| !name.starts_with(LOCK_FILE) && !name.starts_with(TEMPORARY_PREFIX));
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
