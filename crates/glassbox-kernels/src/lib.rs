//! Buffers and a small set of coarse operations, forward and backward, behind one [`Backend`] trait.
//!
//! **What lives here:** the trait, the CPU backend, the reference backend (slow, obviously right) and the
//! conformance suite that every backend must pass; the read-only memory map of a file. This is the only crate
//! of the workspace with `unsafe` code, each block with its safety argument.
//!
//! **What must not live here:** model families, sites, dictionaries, files' formats, anything that knows what
//! a number means.

pub mod backend;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod cpu;
pub mod error;
pub mod mapped_file;
pub mod matmul;
mod operands;
pub mod reference;
pub mod training;

pub use backend::Backend;
pub use cpu::CpuBackend;
pub use error::KernelError;
pub use mapped_file::{MapError, MappedFile};
pub use reference::ReferenceBackend;
pub use training::TrainingBackend;
