//! Tiny checkpoints with values computed by Hugging Face transformers (made by `tools/fixtures`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use glassbox_kernels::CpuBackend;
use glassbox_model::model::Model;
use safetensors::{Dtype, SafeTensors};

/// A tensor of single-precision values.
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A tensor of token ids or positions.
pub struct Integers {
    pub shape: Vec<usize>,
    pub values: Vec<u32>,
}

impl Integers {
    /// The rows of a two-dimensional tensor.
    pub fn rows(&self) -> Vec<Vec<u32>> {
        self.values.chunks(self.shape[1]).map(<[u32]>::to_vec).collect()
    }
}

/// One fixture.
pub struct Fixture {
    pub name: String,
    pub folder: PathBuf,
    pub tensors: BTreeMap<String, Tensor>,
    pub integers: BTreeMap<String, Integers>,
}

impl Fixture {
    pub fn read(name: &str) -> Self {
        let folder = folder().join(name);
        let bytes = std::fs::read(folder.join("reference.safetensors")).unwrap();
        let (mut tensors, mut integers) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let shape = view.shape().to_vec();
            match view.dtype() {
                Dtype::F32 => {
                    let values = view
                        .data()
                        .chunks(4)
                        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                        .collect();
                    tensors.insert(name, Tensor { shape, values });
                }
                Dtype::I64 => {
                    let number = |b: &[u8]| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap();
                    integers.insert(
                        name,
                        Integers {
                            shape,
                            values: view.data().chunks(8).map(number).collect(),
                        },
                    );
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        Self {
            name: name.to_owned(),
            folder,
            tensors,
            integers,
        }
    }

    /// A weight of the checkpoint, widened.
    pub fn weight(&self, name: &str) -> Vec<f32> {
        let files = std::fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        for path in files.filter(|path| path.extension().is_some_and(|e| e == "safetensors")) {
            let bytes = std::fs::read(path).unwrap();
            let Ok(view) = SafeTensors::deserialize(&bytes).unwrap().tensor(name) else {
                continue;
            };
            let widen = |b: &[u8]| match view.dtype() {
                Dtype::F32 => f32::from_le_bytes(b.try_into().unwrap()),
                Dtype::BF16 => half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32(),
                Dtype::F16 => half::f16::from_le_bytes(b.try_into().unwrap()).to_f32(),
                other => panic!("{name}: {other:?}"),
            };
            let size = view.data().len() / view.shape().iter().product::<usize>();
            return view.data().chunks(size).map(widen).collect();
        }
        panic!("{}: no weight {name}", self.name);
    }

    pub fn model(&self) -> Model {
        Model::open(CpuBackend, &self.folder).unwrap()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

/// Every fixture.
pub fn all() -> Vec<Fixture> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 16, "fixtures are missing: {names:?}");
    names.iter().map(|name| Fixture::read(name)).collect()
}

/// The largest difference, where equal infinities differ by nothing and a NaN by everything.
pub fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).fold(0.0, |largest, (a, b)| {
        let difference = if a == b { 0.0 } else { (a - b).abs() };
        if difference.is_nan() {
            f32::INFINITY
        } else {
            largest.max(difference)
        }
    })
}

/// The largest absolute value.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}
