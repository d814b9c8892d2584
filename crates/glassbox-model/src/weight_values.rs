//! The numbers of a stored tensor: checked, widened, rounded.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::checkpoint::{ElementType, StoredTensor};
use crate::load_error::LoadError;

/// Elements that are converted together.
const CHUNK: usize = 1 << 16;

/// A tensor's elements in single precision.
pub(crate) fn widened(tensor: &StoredTensor<'_>) -> Vec<f32> {
    widened_values(tensor.element_type, tensor.data)
}

/// Elements in single precision.
pub(crate) fn widened_values(element_type: ElementType, data: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; data.len() / element_type.bytes()];
    values
        .par_chunks_mut(CHUNK)
        .zip(data.par_chunks(CHUNK * element_type.bytes()))
        .for_each(|(to, from)| match element_type {
            ElementType::F32 => {
                for (to, from) in to.iter_mut().zip(from.as_chunks::<4>().0) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            ElementType::F16 => {
                for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                    *to = f16::from_le_bytes(*from).to_f32();
                }
            }
            ElementType::Bf16 => {
                for (to, from) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                    *to = bf16::from_le_bytes(*from).to_f32();
                }
            }
        });
    values
}

/// Elements as the bytes of single precision.
pub(crate) fn widened_bytes(element_type: ElementType, data: &[u8]) -> Vec<u8> {
    let values = widened_values(element_type, data);
    let mut bytes = vec![0; 4 * values.len()];
    bytes
        .par_chunks_mut(4 * CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(to, from)| {
            for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from) {
                *to = from.to_le_bytes();
            }
        });
    bytes
}

/// Elements rounded to the nearest bfloat16, of two equally near ones to the even one.
///
/// # Errors
/// The place of the first element that is too large for the format, with its value.
pub(crate) fn rounded_bytes(element_type: ElementType, data: &[u8]) -> Result<Vec<u8>, (usize, f32)> {
    let values = widened_values(element_type, data);
    let mut bytes = vec![0; 2 * values.len()];
    bytes
        .par_chunks_mut(2 * CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(to, from)| {
            for (to, &from) in to.as_chunks_mut::<2>().0.iter_mut().zip(from) {
                *to = bf16::from_f32(from).to_le_bytes();
            }
        });
    match first_where(bytes.as_chunks::<2>().0, |bytes| {
        !bf16::from_le_bytes(bytes).is_finite()
    }) {
        Some(place) => Err((place, values[place])),
        None => Ok(bytes),
    }
}

/// Fails if an element is NaN or infinite.
pub(crate) fn check_finite(tensor: &StoredTensor<'_>) -> Result<(), LoadError> {
    // In all three formats a value is not finite exactly if all bits of its exponent are set.
    let first = match tensor.element_type {
        ElementType::F32 => first_where(tensor.data.as_chunks::<4>().0, |bytes| {
            u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000
        }),
        ElementType::F16 => first_where(tensor.data.as_chunks::<2>().0, |bytes| {
            u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00
        }),
        ElementType::Bf16 => first_where(tensor.data.as_chunks::<2>().0, |bytes| {
            u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80
        }),
    };
    let Some(place) = first else { return Ok(()) };
    Err(LoadError::NotFinite {
        path: tensor.path.to_path_buf(),
        tensor: tensor.name.to_owned(),
        index: index_of(place, tensor.shape),
        value: widened(tensor)[place],
    })
}

/// Place of the first element for which `wrong` holds.
fn first_where<const N: usize>(
    elements: &[[u8; N]],
    wrong: impl Fn([u8; N]) -> bool + Sync,
) -> Option<usize> {
    elements
        .par_chunks(CHUNK)
        .enumerate()
        .find_map_first(|(chunk, elements)| {
            // No early exit, so that many elements are tested at a time.
            if !elements.iter().fold(false, |any, element| any | wrong(*element)) {
                return None;
            }
            elements
                .iter()
                .position(|element| wrong(*element))
                .map(|place| chunk * CHUNK + place)
        })
}

/// The index, one number per axis, of the element at `place` in row-major order.
pub(crate) fn index_of(place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    let mut rest = place;
    for (at, &axis) in index.iter_mut().zip(shape).rev() {
        *at = rest % axis.max(1);
        rest /= axis.max(1);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_indices() {
        assert_eq!(index_of(0, &[2, 3]), [0, 0]);
        assert_eq!(index_of(5, &[2, 3]), [1, 2]);
        assert_eq!(index_of(23, &[2, 3, 4]), [1, 2, 3]);
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_to_even() {
        // One bfloat16 step above 1 is 2^-7; halves of it go to the even neighbour.
        let step = 2.0_f32.powi(-7);
        for (value, expected) in [
            (1.0, 1.0),
            (1.0 + 0.49 * step, 1.0),
            (1.0 + 0.5 * step, 1.0),
            (1.0 + 0.51 * step, 1.0 + step),
            (1.0 + 1.5 * step, 1.0 + 2.0 * step),
            (-0.3, -0.300_781_25),
        ] {
            let bytes = rounded_bytes(ElementType::F32, &f32::to_le_bytes(value)).unwrap();
            assert_eq!(widened_values(ElementType::Bf16, &bytes), [expected], "{value}");
        }
        let large: Vec<u8> = [1.0, f32::MAX]
            .iter()
            .flat_map(|x: &f32| x.to_le_bytes())
            .collect();
        assert_eq!(rounded_bytes(ElementType::F32, &large), Err((1, f32::MAX)));
    }

    #[test]
    fn widening_keeps_every_value() {
        let halves: Vec<u8> = [0.5, -2.0]
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect();
        assert_eq!(widened_values(ElementType::F16, &halves), [0.5, -2.0]);
        let singles: Vec<u8> = [0.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(widened_bytes(ElementType::F16, &halves), singles);
    }

    #[test]
    fn the_first_element_is_found_across_chunks() {
        let mut elements = vec![[0_u8; 2]; 200_000];
        assert_eq!(first_where(&elements, |element| element[0] == 1), None);
        elements[150_000] = [1, 0];
        elements[199_999] = [1, 0];
        assert_eq!(first_where(&elements, |element| element[0] == 1), Some(150_000));
    }
}
