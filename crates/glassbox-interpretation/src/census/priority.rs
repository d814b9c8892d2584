//! Random numbers by counter: what a sample keeps depends on the seed and on the token, never on threads or batches.

/// A uniform 64-bit number for a (seed, stream, counter), by the output function of SplitMix64 (Steele, Lea, Flood 2014) over the three
/// words one after the other.
pub(crate) fn priority(seed: u64, stream: u64, counter: u64) -> u64 {
    [stream, counter]
        .into_iter()
        .fold(mix(seed ^ 0x9E37_79B9_7F4A_7C15), |state, word| {
            mix(state ^ mix(word))
        })
}

fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_depend_on_every_word() {
        assert_ne!(priority(1, 2, 3), priority(2, 2, 3));
        assert_ne!(priority(1, 2, 3), priority(1, 3, 3));
        assert_ne!(priority(1, 2, 3), priority(1, 2, 4));
        let mut tenths = [0; 10];
        for counter in 0..100_000 {
            tenths[(priority(7, 5, counter) as f64 / u64::MAX as f64 * 10.0).min(9.0) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (9_500..10_500).contains(count)),
            "{tenths:?}"
        );
    }
}
