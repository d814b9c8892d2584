//! Sparse dictionaries of the shipped model: a minimal BatchTopK trainer, their files and their quality.

mod activations;
mod adam;
mod calibration;
mod centring;
mod quality;
mod recipe;
mod selection;
mod trainer;
mod weights;

pub use activations::collect;
pub use calibration::calibrate_thresholds;
pub use quality::{Quality, measure};
pub use recipe::DictionaryRecipe;
pub use trainer::train_dictionary;
pub use weights::Dictionary;
