//! Safetensors files in tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Shape and values of a tensor; integers as floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Tensor {
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            values,
        }
    }
}

/// Every tensor of a file.
pub fn read(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let values = match view.dtype() {
            Dtype::F32 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::I64 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b) as f32)
                .collect(),
            other => panic!("{name}: {other:?}"),
        };
        (
            name,
            Tensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                values,
            },
        )
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// Writes tensors of single precision.
pub fn write(path: &Path, tensors: &[(&str, Tensor)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, tensor)| {
            tensor
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        (
            *name,
            TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap(),
        )
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Overwrites one value of an F32 tensor in a file.
pub fn poke(path: &Path, tensor: &str, index: usize, value: f32) {
    let mut bytes = fs::read(path).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let info = metadata.info(tensor).unwrap();
    assert_eq!(info.dtype, Dtype::F32);
    let at = 8 + header + info.data_offsets.0 + 4 * index;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// The largest difference; equal infinities differ by nothing, a NaN by everything.
pub fn largest_difference(ours: &Tensor, theirs: &Tensor) -> f32 {
    assert_eq!(ours.shape, theirs.shape);
    ours.values
        .iter()
        .zip(&theirs.values)
        .fold(0.0, |largest: f32, (a, b)| {
            let difference = if a == b { 0.0 } else { (a - b).abs() };
            if difference.is_nan() {
                f32::INFINITY
            } else {
                largest.max(difference)
            }
        })
}
