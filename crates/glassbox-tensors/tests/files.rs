//! Files of PyTorch and NumPy, against the values that those libraries read from them
//! (`tools/fixtures/make_tensor_fixtures.py`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use glassbox_kernels::backend::StoredValues;
use glassbox_tensors::{Container, ElementType, PickledValue, TensorFile, TensorFileError, TorchFile};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The dict that a path of keys leads to, and the last key.
fn follow<'a, 'b>(root: PickledValue<'a>, path: &'b str) -> (PickledValue<'a>, &'b str) {
    let (mut value, mut rest) = (root, path);
    while let Some((key, after)) = rest.split_once('/') {
        let found = value.entries().find(|(name, _)| name == key);
        value = found.unwrap_or_else(|| panic!("no {key} of {path}")).1;
        rest = after;
    }
    (value, rest)
}

#[test]
fn every_tensor_has_the_values_that_its_own_library_reads() {
    let expected = TensorFile::open(&fixtures().join("expected.safetensors")).unwrap();
    assert!(expected.names().len() > 150);
    for name in expected.names() {
        let (file, path) = name.split_once(':').unwrap();
        let file = fixtures().join(file);
        let (tensors, key) = if file.extension().unwrap() == "pt" && path != "tensor" {
            let torch = TorchFile::open(&file).unwrap();
            let (dict, key) = follow(torch.root(), path);
            (torch.tensors(dict).unwrap(), key.to_owned())
        } else {
            (TensorFile::open(&file).unwrap(), path.to_owned())
        };
        assert_eq!(
            tensors.info(&key).unwrap_or_else(|| panic!("{name}")).shape,
            expected.info(name).unwrap().shape,
            "{name}"
        );
        assert_eq!(
            tensors.numbers(&key).unwrap(),
            expected.numbers(name).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn tensors_that_lie_in_row_major_order_are_used_in_place() {
    for (file, key, in_place) in [
        ("tensors.pt", "f32", true),
        ("tensors.pt", "bf16", true),
        ("tensors.pt", "shared_back", true),
        ("tensors.pt", "parameter", true),
        ("tensors.pt", "transposed", false),
        ("tensors_legacy.pt", "f32", true),
        ("tensors_deflated.pt", "f32", false),
        ("arrays.npz", "c", true),
        ("arrays.npz", "fortran", false),
        ("arrays_compressed.npz", "c", false),
    ] {
        let file = TensorFile::open(&fixtures().join(file)).unwrap();
        let (StoredValues::F32(bytes) | StoredValues::F16(bytes) | StoredValues::Bf16(bytes)) =
            file.values(key).unwrap();
        let whole = file.bytes().as_ptr_range();
        assert_eq!(
            whole.contains(&bytes.as_ptr()),
            in_place,
            "{} {key}",
            file.path().display()
        );
    }
}

#[test]
fn stored_types_are_kept_and_double_precision_is_rounded() {
    let file = TensorFile::open(&fixtures().join("tensors.pt")).unwrap();
    assert_eq!(file.container(), Container::Torch);
    assert!(matches!(file.values("bf16").unwrap(), StoredValues::Bf16(_)));
    assert!(matches!(
        file.values("half_transposed").unwrap(),
        StoredValues::F16(_)
    ));
    assert_eq!(file.info("f64").unwrap().element_type, ElementType::F64);
    let wide = file.numbers("f64").unwrap();
    let narrow = file.rows("f64", 0, 3).unwrap();
    assert_eq!(narrow, wide.iter().map(|value| *value as f32).collect::<Vec<_>>());
    let error = file.values("i64").unwrap_err().to_string();
    assert!(
        error.contains("tensors.pt") && error.contains("`i64`") && error.contains("I64"),
        "{error}"
    );
    let error = file.values("nothing").unwrap_err().to_string();
    assert!(
        error.contains("`nothing`") && error.contains("half_transposed"),
        "{error}"
    );
    assert_eq!(
        file.rows("sliced", 1, 1).unwrap(),
        file.rows("sliced", 0, 2).unwrap()[3..]
    );
    assert!(file.rows("sliced", 1, 2).is_err() && file.rows("scalar", 0, 1).is_err());
}

#[test]
fn plain_values_beside_the_tensors_are_read() {
    for file in [
        "checkpoint.pt",
        "checkpoint_legacy.pt",
        "checkpoint_deflated.pt",
        "checkpoint_protocol5.pt",
    ] {
        let file = TorchFile::open(&fixtures().join(file)).unwrap();
        let root = file.root();
        assert_eq!(root.get("layer_idx").unwrap().integer(), Some(3));
        assert_eq!(root.get("best_loss").unwrap().number(), Some(0.125));
        assert_eq!(root.get("steps").unwrap().integer(), Some(1 << 40));
        assert_eq!(root.get("flag").unwrap().flag(), Some(true));
        assert!(root.get("none").unwrap().is_none() && root.get("absent").is_none());
        let losses = root.get("history").unwrap().get("val_loss").unwrap();
        assert_eq!(
            losses
                .items()
                .filter_map(PickledValue::number)
                .collect::<Vec<_>>(),
            [0.5, 0.25]
        );
        let config = root.get("config").unwrap();
        assert_eq!(config.get("name").unwrap().text(), Some("größe"));
        let size = config.get("size").unwrap();
        assert_eq!(
            size.items().filter_map(PickledValue::integer).collect::<Vec<_>>(),
            [2, 3]
        );
        assert_eq!(root.get("more").unwrap().get("a").unwrap().items().count(), 2);
        // Tensors of the outermost dict only, of which this one has none.
        assert!(file.tensors(root).unwrap().names().is_empty());
        let state = file.tensors(root.get("model_state_dict").unwrap()).unwrap();
        assert_eq!(
            state.names(),
            ["W_enc.weight", "W_enc.bias", "W_dec.weight", "W_dec.bias"]
        );
    }
}

#[test]
fn what_only_python_could_make_is_refused_by_name_and_nothing_is_executed() {
    for (file, name) in [
        ("hostile.pt", "system"),
        ("hostile_legacy.pt", "system"),
        ("whole_module.pt", "torch.nn.modules.linear.Linear"),
    ] {
        let error = TensorFile::open(&fixtures().join(file)).unwrap_err();
        assert!(matches!(error, TensorFileError::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(file)
                && text.contains(name)
                && text.contains("at byte")
                && text.contains("state_dict"),
            "{text}"
        );
    }
    assert!(!Path::new("executed.txt").exists());
    let error = TensorFile::open(&fixtures().join("plain_pickle.pt")).unwrap_err();
    assert!(error.to_string().contains("torch.save"), "{error}");
}
