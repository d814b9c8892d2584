//! Damaged and hostile files: an error each, never a panic, and nothing that grows beyond the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use glassbox_tensors::{TensorFile, TensorFileError, TorchFile};
use proptest::prelude::*;

const FILES: [&str; 6] = [
    "tensors.pt",
    "tensors_deflated.pt",
    "tensors_legacy.pt",
    "checkpoint_protocol5.pt",
    "arrays.npz",
    "arrays_compressed.npz",
];

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read(path).unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Opens a file and reads every tensor that can be reached; the first error of any of this.
fn read_all(path: &Path) -> Result<(), TensorFileError> {
    let read = |file: TensorFile| {
        let names = file.names().to_vec();
        names.iter().try_for_each(|name| file.numbers(name).map(|_| ()))
    };
    if path.extension().unwrap() == "pt" {
        let torch = TorchFile::open(path)?;
        let root = torch.root();
        for (_, value) in std::iter::once((String::new(), root)).chain(root.entries()) {
            read(torch.tensors(value)?)?;
        }
        return Ok(());
    }
    read(TensorFile::open(path)?)
}

#[test]
fn files_cut_at_any_byte_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let whole = fixture(name);
        let path = write(folder.path(), name, &whole);
        read_all(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for length in (0..whole.len()).step_by(5).chain([whole.len() - 1]).rev() {
            file.set_len(length as u64).unwrap();
            let error = read_all(&path)
                .err()
                .unwrap_or_else(|| panic!("{name} cut at {length} was read"));
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let whole = fixture(name);
        let path = write(folder.path(), name, &whole);
        let mut file = File::options().write(true).open(&path).unwrap();
        let mut change = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for at in (0..whole.len()).step_by(3) {
            change(at, whole[at] ^ if at % 2 == 0 { 0xff } else { 0x01 });
            let _ = read_all(&path);
            change(at, whole[at]);
        }
        read_all(&path).unwrap();
    }
}

#[test]
fn a_changed_byte_of_an_array_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    // Within the first array's elements, or what they were compressed to.
    for (name, places) in [
        ("arrays.npz", [190, 200, 210]),
        ("arrays_compressed.npz", [75, 90, 110]),
    ] {
        let whole = fixture(name);
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let error = read_all(&write(folder.path(), name, &bytes)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A legacy file is pickles from its first byte on: any operations may follow its magic number.
    #[test]
    fn any_operations_are_read_or_refused(operations in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = fixture("tensors_legacy.pt")[..15].to_vec();
        bytes.extend(operations);
        prop_assert!(read_all(&write(folder.path(), "random.pt", &bytes)).is_err());
    }

    #[test]
    fn any_operations_of_the_tree_are_read_or_refused(
        at in 0_usize..1500, operations in proptest::collection::vec(any::<u8>(), 1..20)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = fixture("tensors_legacy.pt");
        let at = at % (bytes.len() - operations.len());
        bytes[at..at + operations.len()].copy_from_slice(&operations);
        let _ = read_all(&write(folder.path(), "random.pt", &bytes));
    }
}

/// The pickles in front of a legacy file's tree, and the list of no storages after it.
fn legacy(tree: &[u8]) -> Vec<u8> {
    let whole = fixture("tensors_legacy.pt");
    let tree_at = (0..whole.len())
        .filter(|at| whole[*at..].starts_with(&[0x80, 2]))
        .nth(3)
        .unwrap();
    let mut bytes = whole[..tree_at].to_vec();
    bytes.extend([0x80, 2]);
    bytes.extend(tree);
    bytes.push(b'.');
    bytes.extend([0x80, 2, b']', b'.']);
    bytes
}

#[test]
fn trees_that_pretend_to_be_large_are_refused_before_anything_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |tree: &[u8], words: &[&str]| {
        let path = write(folder.path(), "hostile.pt", &legacy(tree));
        let error = read_all(&path).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    };
    // A text of 4 GB, a number of 2 GB, in a file of some hundred bytes.
    refused(b"X\xff\xff\xff\xff", &["cut off"]);
    refused(b"\x8b\xff\xff\xff\x7f", &["cut off"]);
    refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", &["cut off"]);
    // A memo entry that was never made, an empty stack, a missing mark.
    refused(b"j\xff\xff\xff\xff", &["before it is made"]);
    refused(b"0", &["stack is empty"]);
    refused(b"e", &["mark is missing"]);
    refused(b"cos\nsystem\n", &["os.system", "at byte"]);
    refused(b"cbuiltins\neval\n", &["builtins.eval"]);
    refused(b"ctorch\nQUInt8Storage\n", &["torch.QUInt8Storage"]);
    refused(b"Pname\n", &["0x50"]);

    // A tensor of 2^60 elements from a storage that states as many, and one that repeats a single element so often.
    let tensor = |count: &[u8], shape: &[u8], stride: &[u8]| {
        let mut tree = b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        tree.extend(b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0kX\x03\0\0\0cpu");
        tree.extend(count);
        tree.extend(b"tQK\0");
        for (open, number) in [(b'(', shape), (b'(', stride)] {
            tree.push(open);
            tree.extend(number);
            tree.push(b't');
        }
        tree.extend(b"\x89}tRs");
        let mut bytes = legacy(&tree);
        // The list of storages names the one, and its single element follows.
        bytes.truncate(bytes.len() - 4);
        bytes.extend(b"\x80\x02]X\x01\0\0\0ka.");
        bytes.extend(1_i64.to_le_bytes());
        bytes.extend(0.5_f32.to_le_bytes());
        let path = write(folder.path(), "hostile.pt", &bytes);
        read_all(&path)
    };
    let (one, large) = (b"K\x01", b"\x8a\x08\0\0\0\0\0\0\0\x10");
    tensor(one, one, one).unwrap();
    for result in [
        tensor(large, large, one),
        tensor(one, large, one),
        tensor(one, large, large),
        tensor(one, large, b"K\0"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, TensorFileError::Tensor { .. }), "{error}");
    }
}

#[test]
fn a_tree_that_contains_itself_or_is_deeply_nested_is_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    // A dict that is its own value, and a hundred thousand lists in each other.
    let own = write(folder.path(), "own.pt", &legacy(b"}q\0X\x01\0\0\0ah\0s"));
    read_all(&own).unwrap();
    let mut nested = b"}X\x01\0\0\0a".to_vec();
    nested.extend(std::iter::repeat_n(b']', 100_000));
    nested.extend(std::iter::repeat_n(b'a', 99_999));
    nested.push(b's');
    read_all(&write(folder.path(), "nested.pt", &legacy(&nested))).unwrap();
}
