//! The backend on the host's processor: f32, vector instructions chosen at run time, threads by rayon.

mod attention;
mod backend;
mod edits;
mod elementary;
mod elements;
mod instructions;
mod lanes;
mod matrix;
mod memory;
mod norms;
mod panels;
mod parallel;
mod pointwise;
mod products;
mod reductions;
mod rotary;
mod scratch;
mod selection;
mod shared_attention;
mod softmax;
mod team;
mod tiles;
mod training;

pub use backend::CpuBackend;
pub use matrix::CpuMatrix;
pub use memory::CpuBuffer;
pub use parallel::for_each_piece;
pub use training::CpuCodes;
