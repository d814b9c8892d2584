//! Sparse dictionaries of the shipped model: a minimal BatchTopK trainer, their files and their quality.

mod activations;
mod adam;
mod quality;
mod selection;
mod trainer;
mod weights;

pub use activations::collect;
pub use quality::{Quality, measure};
pub use trainer::{DictionaryRecipe, train_dictionary};
pub use weights::Dictionary;
