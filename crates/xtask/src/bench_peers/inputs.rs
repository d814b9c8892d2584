//! What both sides work on: the same folders and the same token ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use glassbox_dictionary::Dictionary;
use glassbox_kernels::CpuBackend;
use glassbox_model::model::Model;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Folder of the f32 model.
pub const MODEL: &str = "llama512";
/// Folder of the dictionaries, one per block.
pub const DICTIONARIES: &str = "dictionaries_32x";
/// Blocks of the model.
pub const BLOCKS: u32 = 12;
/// Features of a dictionary.
pub const FEATURES: u32 = 16_384;
/// Ids 0 to 2 are special.
const FIRST_TOKEN: u32 = 3;
const VOCABULARY: u32 = 32_000;

/// Random token ids, the same for the same seed.
pub fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| FIRST_TOKEN + generator.next_u32() % (VOCABULARY - FIRST_TOKEN))
        .collect()
}

/// Normal rows [rows, width], the same for the same seed (Box and Muller).
pub fn normal_rows(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (f64::from(generator.next_u32()) + 0.5) / f64::from(u32::MAX);
    (0..rows * width)
        .map(|_| {
            let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
            (radius * angle.cos()) as f32
        })
        .collect()
}

/// Rows of random token ids.
pub fn rows(seed: u64, rows: usize, width: usize) -> Vec<Vec<u32>> {
    tokens(seed, rows * width)
        .chunks(width)
        .map(<[u32]>::to_vec)
        .collect()
}

/// `count` features spread over a dictionary.
pub fn features(count: u32) -> Vec<u32> {
    (0..count).map(|i| i * (FEATURES / count)).collect()
}

/// Loads a model.
///
/// # Errors
/// If the folder holds none.
pub fn model(folder: &Path) -> Result<Model<CpuBackend>> {
    Model::open(CpuBackend, folder).with_context(|| format!("the model in {}", folder.display()))
}

/// Folder of one block's dictionary.
pub fn dictionary_folder(dictionaries: &Path, layer: u32) -> PathBuf {
    dictionaries.join(format!("L{layer}"))
}

/// Loads one block's dictionary.
///
/// # Errors
/// If the folder holds none.
pub fn dictionary(dictionaries: &Path, layer: u32) -> Result<Arc<Dictionary<CpuBackend>>> {
    let folder = dictionary_folder(dictionaries, layer);
    let dictionary = glassbox_dictionary::formats::load(&folder, &CpuBackend)
        .with_context(|| format!("the dictionary in {}", folder.display()))?;
    Ok(Arc::new(dictionary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_depend_on_the_seed_only() {
        assert_eq!(tokens(1, 5), tokens(1, 9)[..5]);
        assert_ne!(tokens(1, 5), tokens(2, 5));
        assert!(
            tokens(3, 1000)
                .iter()
                .all(|&id| (FIRST_TOKEN..VOCABULARY).contains(&id))
        );
    }

    #[test]
    fn features_are_in_the_dictionary_and_differ() {
        let chosen = features(232);
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(chosen.last().is_some_and(|&last| last < FEATURES));
    }
}
