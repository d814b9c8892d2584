//! The models whose activations the dictionaries are trained on.

use std::path::{Path, PathBuf};

/// A model, its text and two of its layers.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in the table.
    pub name: &'static str,
    /// Its folder.
    pub model: PathBuf,
    /// Where its text comes from.
    pub text: Text,
    /// The layers.
    pub layers: [u32; 2],
    /// Tokens per row.
    pub context: usize,
}

/// Where text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The model itself, at temperature 1.
    Sampled,
    /// The generator of the shipped model's training text.
    Games,
}

impl Subject {
    /// All of them; the first model is not part of the project.
    pub fn all(stories: &Path) -> [Self; 2] {
        [
            Self {
                name: "stories260k",
                model: stories.to_path_buf(),
                text: Text::Sampled,
                layers: [1, 3],
                context: 256,
            },
            Self {
                name: "shipped model",
                model: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model"),
                text: Text::Games,
                layers: [2, 3],
                context: 256,
            },
        ]
    }
}
