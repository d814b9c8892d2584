//! Eight bytes of a text looked at together, as one number.

/// Bytes that are looked at together.
pub(crate) const EIGHT: usize = 8;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The eight bytes from a place on, if there are so many.
#[inline]
pub(crate) fn load(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..)?.first_chunk::<EIGHT>()?;
    Some(u64::from_le_bytes(*eight))
}

/// Marks the bytes below a limit, at most 128, and no others before the first of them.
#[inline]
pub(crate) fn below(eight: u64, limit: u8) -> u64 {
    eight.wrapping_sub(ONES * u64::from(limit)) & !eight & HIGH
}

/// Marks the bytes that are one of these, and no others before the first of them.
#[inline]
pub(crate) fn any_of<const N: usize>(eight: u64, wanted: [u8; N]) -> u64 {
    wanted.into_iter().fold(0, |marks, byte| {
        marks | below(eight ^ (ONES * u64::from(byte)), 1)
    })
}

/// The first marked byte. A borrow of the subtraction can mark bytes after it that are not meant; the first is always right.
#[inline]
pub(crate) fn first_of(marks: u64) -> Option<usize> {
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_first_byte_meant_is_found(bytes in prop::array::uniform8(prop_oneof![any::<u8>(), 0_u8..40, Just(b'\\')]), limit in 1_u8..=128) {
            let eight = load(&bytes, 0).unwrap();
            let expected = bytes.iter().position(|byte| *byte < limit);
            prop_assert_eq!(first_of(below(eight, limit)), expected);
            let wanted = [b'"', b'\\', b'\n'];
            let expected = bytes.iter().position(|byte| wanted.contains(byte));
            prop_assert_eq!(first_of(any_of(eight, wanted)), expected);
            let either = bytes.iter().position(|byte| wanted.contains(byte) || *byte < 0x20);
            prop_assert_eq!(first_of(any_of(eight, wanted) | below(eight, 0x20)), either);
        }
    }

    #[test]
    fn fewer_than_eight_bytes_are_not_loaded() {
        assert_eq!(load(&[0; 9], 1), Some(0));
        assert_eq!(load(&[0; 9], 2), None);
        assert_eq!(load(&[], 1), None);
    }
}
