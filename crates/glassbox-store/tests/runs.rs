//! Run directories: what is refused, what a kill leaves behind, and who may write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use glassbox_store::{
    Fault, Manifest, RunDirectory, RunPaths, StageStatus, Storage, StoreError, TEMPORARY_PREFIX, read_table,
    table,
};
use serde_json::json;

table! {
    /// One effect.
    pub struct Effect: "causal", version 1 {
        /// Feature index.
        pub feature: u32,
        /// Difference of the stopping rate between the two values.
        pub effect: Option<f64>,
    }
}

fn effects() -> Vec<Effect> {
    (0..100)
        .map(|feature| Effect {
            feature,
            effect: (feature % 3 > 0).then(|| f64::from(feature) / 7.0),
        })
        .collect()
}

fn manifest(trials: u32) -> Manifest {
    Manifest::new(
        "0.1.0",
        "x86-64-v3",
        json!({"sweep": {"trials": trials}}),
        &["causal", "report"],
    )
}

fn create(root: &Path, resume: bool) -> Result<RunDirectory, StoreError> {
    RunDirectory::create(&Storage::new(), root, manifest(20), resume)
}

/// A small run: two stages, each skipped where it is complete.
fn run(storage: &Storage, root: &Path) -> Result<RunDirectory, StoreError> {
    let mut run = RunDirectory::create(storage, root, manifest(20), true)?;
    if !run.is_stage_complete("causal")? {
        run.start_stage("causal")?;
        let path = run.paths().causal();
        run.write_table("causal", &path, &effects())?;
        run.complete_stage("causal", 0.5, 100, &[("rows_per_second", 200.0)])?;
    }
    if !run.is_stage_complete("report")? {
        run.start_stage("report")?;
        let (findings, report) = (run.paths().findings(), run.paths().report());
        run.write_json("report", &findings, &json!({"features": 100}))?;
        run.write_bytes("report", &report, b"<!doctype html>")?;
        run.complete_stage("report", 0.1, 0, &[])?;
    }
    Ok(run)
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A storage that does not wait for the disk.
fn quick() -> Storage {
    Storage::with_fault(Fault::StopBefore { step: u64::MAX })
}

#[test]
fn a_run_records_its_stages_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/run");
    let finished = run(&Storage::new(), &root).unwrap();
    let manifest = finished.paths().read_manifest().unwrap();
    assert_eq!(&manifest, finished.manifest());
    let stage = manifest.stage("causal").unwrap();
    assert_eq!(
        (stage.status, stage.rows, stage.files.clone()),
        (
            StageStatus::Complete,
            Some(100),
            vec!["causal.parquet".to_string()]
        )
    );
    assert_eq!(
        manifest.files.keys().collect::<Vec<_>>(),
        ["causal.parquet", "findings.json", "report.html"]
    );
    assert!(finished.paths().damaged_files(&manifest).unwrap().is_empty());
    assert_eq!(
        read_table::<Effect>(&finished.paths().causal()).unwrap(),
        effects()
    );
    assert_eq!(
        names(&root),
        [
            ".lock",
            "causal.parquet",
            "findings.json",
            "manifest.json",
            "report.html"
        ]
    );
}

#[test]
fn a_kill_at_any_step_leaves_a_run_that_resumes_to_the_same_tables() {
    let reference = tempfile::tempdir().unwrap();
    let storage = quick();
    run(&storage, reference.path()).unwrap();
    let final_names = names(reference.path());
    let content = |root: &Path, name: &str| fs::read(root.join(name)).unwrap();
    for step in 0..storage.steps() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        assert!(
            run(&Storage::with_fault(Fault::StopBefore { step }), &root).is_err(),
            "{step}"
        );
        for name in names(&root) {
            match name.as_str() {
                ".lock" => {}
                "manifest.json" => drop(RunPaths::new(&root).read_manifest().unwrap()),
                name if name.starts_with(TEMPORARY_PREFIX) => {}
                name => assert_eq!(
                    content(&root, name),
                    content(reference.path(), name),
                    "step {step}"
                ),
            }
        }
        run(&quick(), &root).unwrap();
        assert_eq!(names(&root), final_names, "step {step}");
        for name in ["causal.parquet", "findings.json", "report.html"] {
            assert_eq!(
                content(&root, name),
                content(reference.path(), name),
                "step {step}"
            );
        }
    }
}

#[test]
fn a_full_disk_leaves_a_readable_manifest() {
    let reference = tempfile::tempdir().unwrap();
    let storage = quick();
    run(&storage, reference.path()).unwrap();
    for bytes in (0..storage.bytes_written()).step_by(211) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let error = run(&Storage::with_fault(Fault::DiskFullAfter { bytes }), &root).unwrap_err();
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        assert!(!names(&root).iter().any(|name| name.starts_with(TEMPORARY_PREFIX)));
        run(&quick(), &root).unwrap();
    }
}

#[test]
fn a_stage_whose_file_was_edited_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(run(&Storage::new(), folder.path()).unwrap());
    let causal = folder.path().join("causal.parquet");
    let whole = fs::read(&causal).unwrap();
    fs::write(&causal, &whole[1..]).unwrap();
    {
        let opened = RunDirectory::open(&Storage::new(), folder.path()).unwrap();
        assert!(!opened.is_stage_complete("causal").unwrap());
        assert!(opened.is_stage_complete("report").unwrap());
        let damaged = opened.paths().damaged_files(opened.manifest()).unwrap();
        assert_eq!(damaged.len(), 1);
        let read = opened.paths().read_table::<Effect>(opened.manifest(), &causal);
        assert!(matches!(read, Err(StoreError::Damaged { .. })));
        assert!(
            damaged[0].to_string().contains("causal.parquet is damaged"),
            "{}",
            damaged[0]
        );
    }
    drop(run(&Storage::new(), folder.path()).unwrap());
    assert_eq!(fs::read(&causal).unwrap(), whole);
}

#[test]
fn other_folders_and_runs_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("thesis");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("chapter.tex"), "text").unwrap();
    for resume in [false, true] {
        let error = create(&other, resume).unwrap_err();
        assert!(
            matches!(&error, StoreError::NotARun { entries, .. } if entries == &["chapter.tex"]),
            "{error}"
        );
        assert_eq!(names(&other), ["chapter.tex"]);
    }
    assert!(matches!(
        RunDirectory::open(&Storage::new(), &other),
        Err(StoreError::NoRun { .. })
    ));
    assert!(matches!(
        RunPaths::of_existing(&folder.path().join("absent")),
        Err(StoreError::NoRun { .. })
    ));

    let root = folder.path().join("run");
    drop(create(&root, false).unwrap());
    let error = create(&root, false).unwrap_err();
    assert!(
        matches!(error, StoreError::RunExists { .. }) && error.to_string().contains("--resume"),
        "{error}"
    );
    drop(create(&root, true).unwrap());
    let error = RunDirectory::create(&Storage::new(), &root, manifest(30), true).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("config.sweep.trials: stored 20, now 30"),
        "{error}"
    );
    drop(create(&folder.path().join("resumed-before-it-began"), true).unwrap());
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut cases: Vec<PathBuf> = vec![file.clone(), file.join("below"), folder.path().join("nul\0byte")];
    if Path::new("/proc").is_dir() {
        cases.push("/proc/glassbox-run".into());
    }
    for root in cases {
        let error = create(&root, false).unwrap_err();
        assert!(
            matches!(error, StoreError::Unwritable { .. }),
            "{}: {error:?}",
            root.display()
        );
        assert!(
            !error.is_resumable() && error.to_string().contains("choose a folder"),
            "{error}"
        );
    }
    let error =
        glassbox_store::write_bytes(&Storage::new(), &folder.path().join("absent/file"), b"").unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
}

#[test]
fn one_process_writes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let first = create(&root, false).unwrap();
    let error = RunDirectory::open(&Storage::new(), &root).unwrap_err();
    assert!(
        error.to_string().contains(&format!(
            "in use by another process (process {} on ",
            std::process::id()
        )),
        "{error}"
    );
    assert!(matches!(create(&root, true), Err(StoreError::Locked { .. })));
    first.paths().read_manifest().unwrap();
    drop(first);

    // What a dead process left: a lock file that nobody holds, and temporary files.
    fs::write(root.join(".lock"), "process 1\n").unwrap();
    fs::create_dir(root.join("trials")).unwrap();
    fs::write(root.join("trials/.tmp-1-0-unit-0000001.parquet"), "half").unwrap();
    fs::write(root.join(".tmp-1-1-manifest.json"), "half").unwrap();
    drop(RunDirectory::open(&Storage::new(), &root).unwrap());
    assert_eq!(names(&root), [".lock", "manifest.json", "trials"]);
    assert!(names(&root.join("trials")).is_empty());
}

fn join(root: &Path, shard: &str, resume: bool) -> Result<RunDirectory, StoreError> {
    let planned = |manifest: &Manifest| manifest.plan_hash.is_some();
    RunDirectory::join(
        &Storage::new(),
        root,
        manifest(20),
        shard.parse().unwrap(),
        resume,
        planned,
    )
}

#[test]
fn shards_share_a_run_after_one_of_them_has_planned() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut first = join(&root, "0/3", false).unwrap();
    // Another shard waits for the plan, the same shard and a run of all stages are refused.
    assert!(matches!(
        join(&root, "1/3", false),
        Err(StoreError::Planning { .. })
    ));
    assert!(matches!(join(&root, "0/3", true), Err(StoreError::Locked { .. })));
    first
        .update(|manifest| {
            manifest.plan_hash = Some(glassbox_store::hash_bytes(b"plan"));
            Ok(())
        })
        .unwrap();
    first.share().unwrap();
    let mut second = join(&root, "1/3", false).unwrap();
    assert_eq!(second.manifest(), first.manifest());
    for (shard, resume) in [("0/3", true), ("1/3", true)] {
        assert!(matches!(
            join(&root, shard, resume),
            Err(StoreError::Locked { .. })
        ));
    }
    assert!(matches!(create(&root, true), Err(StoreError::Locked { .. })));
    for run in [&mut first, &mut second] {
        assert!(matches!(
            run.start_stage("causal"),
            Err(StoreError::Shared { .. })
        ));
    }
    // What others are writing is not taken for the remains of a dead process.
    fs::write(root.join(".tmp-1-1-x"), "half").unwrap();
    drop(first);
    let third = join(&root, "2/3", false).unwrap();
    assert!(root.join(".tmp-1-1-x").exists());
    drop((second, third));

    // When all have ended, the run is one again; a shard that was begun is only resumed.
    let error = join(&root, "0/3", false).unwrap_err();
    assert!(matches!(error, StoreError::RunExists { .. }), "{error}");
    let error = join(&root, "0/4", true).unwrap_err();
    assert!(error.to_string().contains("begun as 3 shards, not 4"), "{error}");
    drop(join(&root, "0/3", true).unwrap());
    assert!(!root.join(".tmp-1-1-x").exists());
    create(&root, true).unwrap().start_stage("causal").unwrap();
}

#[test]
fn a_run_of_all_stages_keeps_shards_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let run = create(&root, false).unwrap();
    assert!(matches!(join(&root, "0/2", true), Err(StoreError::Locked { .. })));
    drop(run);
    assert!(matches!(
        join(&root, "0/2", false),
        Err(StoreError::RunExists { .. })
    ));
    join(&root, "0/2", true).unwrap();
    let mut other = manifest(21);
    other.plan_hash = None;
    let storage = Storage::new();
    let error = RunDirectory::join(&storage, &root, other, "1/2".parse().unwrap(), true, |_| true);
    assert!(matches!(error, Err(StoreError::Incompatible { .. })));
}

#[test]
fn a_stage_of_another_run_is_taken_over_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&quick(), &folder.path().join("first")).unwrap();
    let mut second = create(&folder.path().join("second"), false).unwrap();
    let mut stored = first.manifest().clone();
    second.adopt_stage("causal", first.paths(), &stored).unwrap();
    assert!(second.is_stage_complete("causal").unwrap());
    assert_eq!(second.manifest().stages[0], stored.stages[0]);
    assert_eq!(
        second.manifest().files["causal.parquet"],
        stored.files["causal.parquet"]
    );
    let effects: Vec<Effect> = read_table(&second.paths().causal()).unwrap();
    assert_eq!(effects, self::effects());

    stored.stages[0].files.push("../elsewhere".into());
    let error = second.adopt_stage("causal", first.paths(), &stored).unwrap_err();
    assert!(error.to_string().contains("outside of the run"), "{error}");
    fs::write(first.paths().causal(), "damaged").unwrap();
    let stored = first.manifest();
    let error = second.adopt_stage("causal", first.paths(), stored).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!second.is_stage_complete("causal").unwrap());
    let open = manifest(20);
    let error = second.adopt_stage("report", first.paths(), &open).unwrap_err();
    assert!(matches!(error, StoreError::Unfinished { .. }), "{error}");
}

#[test]
fn a_failed_change_leaves_the_manifest_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = create(&folder.path().join("run"), false).unwrap();
    let before = run.manifest().clone();
    assert!(matches!(run.start_stage("swep"), Err(StoreError::NoStage { .. })));
    let error = run.complete_stage("causal", f64::NAN, 0, &[]).unwrap_err();
    assert!(
        error.to_string().contains("`stages[0].seconds` is NaN"),
        "{error}"
    );
    assert_eq!(run.manifest(), &before);
    assert_eq!(run.paths().read_manifest().unwrap(), before);
}
