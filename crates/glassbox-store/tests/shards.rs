//! Units of work: what counts as done, what a kill or a full disk leaves behind, and what is refused when shards are put together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use glassbox_store::{
    Fault, ShardOrigin, ShardState, ShardStore, Storage, StoreError, TEMPORARY_PREFIX, UnitId, assemble,
    hash_bytes, read_table_dir, remove_temporaries, table,
};

table! {
    /// One generation.
    pub struct Trial: "trials", version 1 {
        /// Unit that it belongs to.
        pub unit: u32,
        /// Its number within the unit.
        pub trial: u32,
        /// The answer.
        pub text: String,
    }
}

table! {
    /// One generation, in a later schema.
    pub struct LaterTrial: "trials", version 2 {
        /// Unit that it belongs to.
        pub unit: u32,
    }
}

const UNITS: u32 = 4;

fn plan() -> Vec<UnitId> {
    (0..UNITS).map(|unit| UnitId::numbered(u64::from(unit))).collect()
}

fn rows(unit: u32) -> Vec<Trial> {
    (0..5 + unit)
        .map(|trial| Trial {
            unit,
            trial,
            text: format!("Bet ${trial}"),
        })
        .collect()
}

fn all_rows() -> Vec<Trial> {
    (0..UNITS).flat_map(rows).collect()
}

fn origin() -> ShardOrigin {
    ShardOrigin {
        plan_hash: hash_bytes(b"plan"),
        glassbox_version: "0.1.0".into(),
        instruction_set: "x86-64-v3".into(),
    }
}

fn open(storage: &Storage, folder: &Path) -> Result<ShardStore<Trial>, StoreError> {
    ShardStore::open(storage, folder, origin())
}

/// Does what is not done yet, as a resumed sweep would.
fn work(storage: &Storage, folder: &Path) -> Result<ShardStore<Trial>, StoreError> {
    let mut store = open(storage, folder)?;
    for (number, unit) in (0..).zip(plan()) {
        if !store.is_complete(&unit) {
            store.write(&unit, rows(number))?;
        }
    }
    Ok(store)
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// A storage that does not wait for the disk.
fn quick() -> Storage {
    Storage::with_fault(Fault::StopBefore { step: u64::MAX })
}

#[test]
fn units_are_done_once_and_come_back_in_the_order_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let store = work(&Storage::new(), folder.path()).unwrap();
    assert_eq!(store.assemble(&plan()).unwrap(), all_rows());
    assert_eq!(read_table_dir::<Trial>(folder.path()).unwrap(), all_rows());

    let storage = Storage::new();
    let again = work(&storage, folder.path()).unwrap();
    assert_eq!(storage.bytes_written(), 0, "nothing is done twice");
    let mut reversed = plan();
    reversed.reverse();
    let expected: Vec<_> = (0..UNITS).rev().flat_map(rows).collect();
    assert_eq!(again.assemble(&reversed).unwrap(), expected);
    assert!(matches!(
        again.begin(&plan()[0]),
        Err(StoreError::Duplicate { .. })
    ));
}

#[test]
fn a_kill_at_any_step_leaves_whole_files_and_a_resumed_run_ends_the_same() {
    let reference = tempfile::tempdir().unwrap();
    let storage = quick();
    work(&storage, reference.path()).unwrap();
    let expected = contents(reference.path());
    assert!(storage.steps() > 30);
    for step in 0..storage.steps() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            work(&Storage::with_fault(Fault::StopBefore { step }), folder.path()).is_err(),
            "{step}"
        );
        for (name, bytes) in contents(folder.path()) {
            assert!(
                name.starts_with(TEMPORARY_PREFIX) || expected[&name] == bytes,
                "step {step}: {name} is half-written"
            );
        }
        remove_temporaries(folder.path()).unwrap();
        let store = work(&quick(), folder.path()).unwrap();
        assert!(store.damaged().is_empty());
        assert_eq!(contents(folder.path()), expected, "step {step}");
    }
}

#[test]
fn a_full_disk_leaves_whole_files_and_no_temporary_ones() {
    let reference = tempfile::tempdir().unwrap();
    let storage = quick();
    work(&storage, reference.path()).unwrap();
    let expected = contents(reference.path());
    for bytes in (0..storage.bytes_written()).step_by(97) {
        let folder = tempfile::tempdir().unwrap();
        let error = work(
            &Storage::with_fault(Fault::DiskFullAfter { bytes }),
            folder.path(),
        )
        .unwrap_err();
        assert!(
            matches!(&error, StoreError::DiskFull { .. }) && error.is_resumable(),
            "{error}"
        );
        assert!(
            error.to_string().contains("the disk is full: could not write"),
            "{error}"
        );
        for (name, bytes) in contents(folder.path()) {
            assert_eq!(expected[&name], bytes, "{name}");
        }
        work(&quick(), folder.path()).unwrap();
        assert_eq!(contents(folder.path()), expected);
    }
}

#[test]
fn a_shard_that_does_not_match_its_record_is_reported_and_done_again() {
    let folder = tempfile::tempdir().unwrap();
    work(&Storage::new(), folder.path()).unwrap();
    let expected = contents(folder.path());
    let file = |name: &str| folder.path().join(name);
    let whole = fs::read(file("unit-0000001.parquet")).unwrap();

    // Truncated; one byte changed; missing; another unit's record; a record cut off.
    fs::write(
        file("unit-0000000.parquet"),
        &expected["unit-0000000.parquet"][..50],
    )
    .unwrap();
    let mut edited = whole.clone();
    edited[20] ^= 1;
    fs::write(file("unit-0000001.parquet"), edited).unwrap();
    fs::remove_file(file("unit-0000002.parquet")).unwrap();
    fs::copy(file("unit-0000001.json"), file("unit-0000003.json")).unwrap();

    let store = open(&Storage::new(), folder.path()).unwrap();
    let reasons: Vec<_> = store
        .damaged()
        .into_iter()
        .map(|(_, error)| error.to_string())
        .collect();
    for (reason, expected) in reasons.iter().zip([
        "it has 50 bytes, ",
        "its checksum is ",
        "the file is missing",
        "its record is that of unit `unit-0000001`",
    ]) {
        assert!(
            reason.contains(expected) && reason.contains("unit-") && reason.contains("--resume"),
            "{reason}"
        );
    }
    assert_eq!(reasons.len(), 4);
    assert!(matches!(store.assemble(&plan()), Err(StoreError::Damaged { .. })));
    assert!(matches!(
        read_table_dir::<Trial>(folder.path()),
        Err(StoreError::Damaged { .. })
    ));

    work(&Storage::new(), folder.path()).unwrap();
    assert_eq!(contents(folder.path()), expected);

    fs::write(file("unit-0000003.json"), "{").unwrap();
    let mut store = open(&Storage::new(), folder.path()).unwrap();
    assert!(
        matches!(store.state(&plan()[3]), ShardState::Damaged { reason } if reason.contains("record cannot be read"))
    );
    store.write(&plan()[3], rows(3)).unwrap();
    assert!(store.verify().unwrap().is_empty());

    // Damage after the store was opened is found when the shard's turn comes.
    fs::write(file("unit-0000002.parquet"), b"PAR1").unwrap();
    assert!(matches!(store.assemble(&plan()), Err(StoreError::Damaged { .. })));
    assert_eq!(store.verify().unwrap().len(), 1);
}

#[test]
fn a_shard_without_its_record_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    work(&Storage::new(), folder.path()).unwrap();
    fs::remove_file(folder.path().join("unit-0000002.json")).unwrap();
    let store = open(&Storage::new(), folder.path()).unwrap();
    assert_eq!(store.state(&plan()[2]), &ShardState::Missing);
    let error = store.assemble(&plan()).unwrap_err();
    assert!(error.is_resumable());
    assert!(
        error
            .to_string()
            .contains("1 of 4 units of work are not complete"),
        "{error}"
    );
    assert!(error.to_string().contains("unit-0000002"), "{error}");
}

#[test]
fn work_shared_by_two_folders_is_put_together_and_doubles_are_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = open(&Storage::new(), one.path()).unwrap();
    let mut second = open(&Storage::new(), two.path()).unwrap();
    for (number, unit) in (0..).zip(plan()) {
        let store = if number % 2 == 0 { &mut first } else { &mut second };
        store.write(&unit, rows(number)).unwrap();
    }
    let together: Vec<_> = assemble(&[&first, &second], &plan())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(together.concat(), all_rows());

    second.write(&plan()[0], rows(0)).unwrap();
    let error = assemble(&[&first, &second], &plan()).err().unwrap();
    assert!(
        error.to_string().contains("unit `unit-0000000` occurs twice"),
        "{error}"
    );
    let doubled = [plan(), plan()].concat();
    assert!(matches!(
        first.assemble(&doubled),
        Err(StoreError::Duplicate { .. })
    ));
    let error = first.assemble(&plan()[1..]).unwrap_err();
    assert!(
        matches!(&error, StoreError::NotInPlan { units, .. } if units == &["unit-0000000"]),
        "{error}"
    );
}

#[test]
fn shards_of_another_plan_program_processor_or_schema_are_neither_mixed_nor_overwritten() {
    let others = [
        (
            "plan hash",
            ShardOrigin {
                plan_hash: hash_bytes(b"other"),
                ..origin()
            },
        ),
        (
            "glassbox version",
            ShardOrigin {
                glassbox_version: "0.2.0".into(),
                ..origin()
            },
        ),
        (
            "instruction set",
            ShardOrigin {
                instruction_set: "x86-64-v4".into(),
                ..origin()
            },
        ),
    ];
    for (name, other) in others {
        let folder = tempfile::tempdir().unwrap();
        ShardStore::<Trial>::open(&Storage::new(), folder.path(), other.clone())
            .unwrap()
            .write(&plan()[0], rows(0))
            .unwrap();
        let mut store = open(&Storage::new(), folder.path()).unwrap();
        assert!(!store.is_complete(&plan()[0]));
        assert!(matches!(store.begin(&plan()[0]), Err(StoreError::MixedOrigin { key, .. }) if key == name));
        store.write(&plan()[1], rows(1)).unwrap();
        assert!(
            matches!(store.assemble(&plan()[..2]), Err(StoreError::MixedOrigin { key, .. }) if key == name)
        );
        assert!(matches!(
            read_table_dir::<Trial>(folder.path()),
            Err(StoreError::MixedOrigin { .. })
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    work(&Storage::new(), folder.path()).unwrap();
    let later = ShardStore::<LaterTrial>::open(&Storage::new(), folder.path(), origin()).unwrap();
    let error = later.assemble(&plan()).unwrap_err().to_string();
    assert!(
        error.contains("has schema version `1`, the others have `2`"),
        "{error}"
    );
}

#[test]
fn names_of_units_are_checked() {
    for name in ["", "Unit", "a/b", "..", "a.b", "ü", &"a".repeat(101)] {
        assert!(
            matches!(UnitId::new(name), Err(StoreError::BadUnit { .. })),
            "{name}"
        );
    }
    assert_eq!(UnitId::new("layer-3_part-1").unwrap().as_str(), "layer-3_part-1");
}
