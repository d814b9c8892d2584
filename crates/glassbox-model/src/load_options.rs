//! What a user may choose about loading a model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The type in which weight matrices are held. Norms and biases are always single precision, and so are sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// As the checkpoint stores them: no copy is made of those that are stored as they are used.
    #[default]
    Stored,
    /// Single precision; 16-bit weights are widened, which changes no value.
    F32,
    /// bfloat16; wider weights are rounded to the nearest, of two equally near to the even one. A relative error of up
    /// to 2^-9 in each weight, for half the memory and up to twice the speed where few rows are computed.
    Bf16,
}

impl WeightType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stored, Self::F32, Self::Bf16];

    /// The name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|weights| weights.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("'{name}' is no type of weights; the choices are {names}")
        })
    }
}

/// How to load a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LoadOptions {
    /// The type in which weight matrices are held.
    pub weights: WeightType,
}
