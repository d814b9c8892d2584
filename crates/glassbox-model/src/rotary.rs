//! Rotary position embedding: frequencies and tables of cosines and sines.
//!
//! Angles grow with the position, so a last-digit difference in a frequency becomes a visible difference in the
//! logits of a long prompt. Therefore every step that transformers computes in single precision is rounded to single
//! precision here too (the arithmetic itself is done in double precision, which rounds each step correctly).
//!
//! Sources: Su et al. 2021 (RoFormer) for the embedding; position interpolation (Chen et al. 2023) for `linear`; the
//! Llama 3.1 release for `llama3`.

use std::f64::consts::TAU;

use crate::config::{ModelConfig, PositionKind, RotaryScaling};

/// Rounds to single precision and back: one step of single-precision arithmetic.
fn single(x: f64) -> f64 {
    f64::from(x as f32)
}

/// Angular frequencies in radians per position, one per pair of columns of a head: [d_head / 2].
///
/// Pair j turns by `inverse_frequencies[j]` per position. Without scaling that is theta^(−2j / d_head).
#[must_use]
pub fn inverse_frequencies(theta: f64, d_head: usize, scaling: &RotaryScaling) -> Vec<f32> {
    let theta = single(theta);
    let width = d_head as f64;
    (0..d_head / 2)
        .map(|j| {
            let exponent = single((2 * j) as f64 / width);
            let frequency = single(1.0 / single(theta.powf(exponent)));
            scaled_frequency(frequency, scaling) as f32
        })
        .collect()
}

fn scaled_frequency(frequency: f64, scaling: &RotaryScaling) -> f64 {
    match *scaling {
        RotaryScaling::None => frequency,
        RotaryScaling::Linear { factor } => single(frequency / single(factor)),
        RotaryScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
        } => {
            let factor = single(factor);
            // In positions per full turn.
            let wavelength = single(single(1.0 / frequency) * single(TAU));
            if wavelength > single(original / low) {
                return single(frequency / factor);
            }
            if wavelength < single(original / high) {
                return frequency;
            }
            let turns = single(single(1.0 / wavelength) * single(original));
            let kept = single(single(turns - single(low)) / single(high - low));
            let divided = single(single(single(1.0 - kept) * frequency) / factor);
            single(divided + single(kept * frequency))
        }
    }
}

/// Cosines and sines of every pair's angle, for positions from 0 on; grows when a longer sequence comes.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryTable {
    frequencies: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    positions: usize,
}

impl RotaryTable {
    /// An empty table for the model, or `None` if its positions are learned.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Option<Self> {
        match &config.positions {
            PositionKind::Rotary { theta, scaling } => Some(Self::from_frequencies(inverse_frequencies(
                *theta,
                config.d_head,
                scaling,
            ))),
            PositionKind::Learned => None,
        }
    }

    /// An empty table for these frequencies [pairs].
    #[must_use]
    pub fn from_frequencies(frequencies: Vec<f32>) -> Self {
        Self {
            frequencies,
            cos: Vec::new(),
            sin: Vec::new(),
            positions: 0,
        }
    }

    /// Makes the table hold at least this many positions. Rows that are there stay as they are.
    pub fn grow(&mut self, positions: usize) {
        if positions <= self.positions {
            return;
        }
        for position in self.positions..positions {
            for &frequency in &self.frequencies {
                // The angle is a single-precision product, as in the reference.
                let angle = f64::from(position as f32 * frequency);
                self.cos.push(angle.cos() as f32);
                self.sin.push(angle.sin() as f32);
            }
        }
        self.positions = positions;
    }

    /// Positions that the table holds.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Pairs of columns: half of the rotated width.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Cosines [positions, pairs].
    #[must_use]
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// Sines [positions, pairs].
    #[must_use]
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of the frequencies, and of the cosines and sines at one far position.
    struct Expected {
        theta: f64,
        scaling: RotaryScaling,
        frequencies: [u32; 8],
        position: usize,
        cos: [u32; 8],
        sin: [u32; 8],
    }

    // Read from transformers 5.23 (LlamaRotaryEmbedding on torch 2.15), head width 16.
    fn expected() -> Vec<Expected> {
        vec![
            Expected {
                theta: 10_000.0,
                scaling: RotaryScaling::None,
                frequencies: [
                    0x3f80_0000,
                    0x3ea1_e89b,
                    0x3dcc_cccd,
                    0x3d01_86e3,
                    0x3c23_d70a,
                    0x3b4f_3e38,
                    0x3a83_126f,
                    0x39a5_cb60,
                ],
                position: 4095,
                cos: [
                    0xbd87_1e6c,
                    0x3f50_e0ac,
                    0x3eeb_7335,
                    0xbf45_70f4,
                    0xbf7e_78f4,
                    0x3f6d_6feb,
                    0xbf14_334f,
                    0x3e8b_729a,
                ],
                sin: [
                    0xbf7f_7136,
                    0x3f14_01d9,
                    0x3f63_534b,
                    0xbf22_f368,
                    0xbddf_64b4,
                    0x3ebf_6956,
                    0xbf50_bd97,
                    0x3f76_5277,
                ],
            },
            Expected {
                theta: 10_000.0,
                scaling: RotaryScaling::Linear { factor: 2.5 },
                frequencies: [
                    0x3ecc_cccd,
                    0x3e01_86e2,
                    0x3d23_d70a,
                    0x3c4f_3e38,
                    0x3b83_126e,
                    0x3aa5_cb60,
                    0x39d1_b718,
                    0x3904_a2b3,
                ],
                position: 4095,
                cos: [
                    0xbeab_051b,
                    0xbf6d_9357,
                    0x3f67_ec26,
                    0x3d1c_4c25,
                    0xbf48_5593,
                    0x3ee6_b341,
                    0xbd89_87a2,
                    0x3f5e_6b06,
                ],
                sin: [
                    0xbf71_4bed,
                    0x3ebe_b935,
                    0x3ed8_c6b3,
                    0x3f7f_d045,
                    0xbf1f_616f,
                    0xbf64_8a24,
                    0x3f7f_6c10,
                    0x3efd_814d,
                ],
            },
            Expected {
                theta: 500_000.0,
                scaling: RotaryScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 1.0,
                    high_freq_factor: 4.0,
                    original_max_position_embeddings: 8192.0,
                },
                frequencies: [
                    0x3f80_0000,
                    0x3e46_93b0,
                    0x3d1a_08c8,
                    0x3bee_f74f,
                    0x3a09_95d2,
                    0x380f_c8f8,
                    0x36df_10c4,
                    0x35ad_07a7,
                ],
                position: 100_000,
                cos: [
                    0xbf7f_d61c,
                    0xbf36_b3aa,
                    0xbf7e_42d8,
                    0x3f6a_1086,
                    0xbf1a_960f,
                    0xbf75_9080,
                    0x3f49_7bfe,
                    0x3f7d_e029,
                ],
                sin: [
                    0x3d12_6d55,
                    0x3f33_5232,
                    0xbdee_4c7d,
                    0x3ecf_5cc3,
                    0x3f4c_0e81,
                    0xbe90_b1b6,
                    0x3f1d_ec9a,
                    0x3e03_a55f,
                ],
            },
        ]
    }

    /// Distance in representable single-precision numbers.
    fn steps(a: f32, bits: u32) -> u32 {
        a.to_bits().abs_diff(bits)
    }

    #[test]
    fn frequencies_and_angles_equal_those_of_transformers() {
        for case in expected() {
            let frequencies = inverse_frequencies(case.theta, 16, &case.scaling);
            for (j, (&found, &bits)) in frequencies.iter().zip(&case.frequencies).enumerate() {
                assert!(
                    steps(found, bits) <= 1,
                    "{:?} pair {j}: {found} and {}",
                    case.scaling,
                    f32::from_bits(bits)
                );
            }
            // The reference's own frequencies, so that only the tables are compared.
            let mut table = RotaryTable::from_frequencies(case.frequencies.map(f32::from_bits).to_vec());
            table.grow(case.position + 1);
            let row = case.position * 8;
            for j in 0..8 {
                assert!(
                    steps(table.cos()[row + j], case.cos[j]) <= 2,
                    "{:?} cos {j}",
                    case.scaling
                );
                assert!(
                    steps(table.sin()[row + j], case.sin[j]) <= 2,
                    "{:?} sin {j}",
                    case.scaling
                );
            }
        }
    }

    #[test]
    fn a_table_grown_in_steps_equals_one_made_at_once() {
        let frequencies = inverse_frequencies(10_000.0, 8, &RotaryScaling::None);
        let mut at_once = RotaryTable::from_frequencies(frequencies.clone());
        at_once.grow(50);
        let mut in_steps = RotaryTable::from_frequencies(frequencies);
        for positions in [1, 7, 3, 50] {
            in_steps.grow(positions);
        }
        assert_eq!(at_once, in_steps);
        assert_eq!(
            (at_once.positions(), at_once.pairs(), at_once.cos().len()),
            (50, 4, 200)
        );
    }
}
