//! Files of named tensors: safetensors, PyTorch pickles, NumPy archives.
//!
//! **What lives here:** one type for the tensors of a file ([`TensorFile`]), whatever the container; PyTorch files with
//! everything that lies beside the tensors ([`TorchFile`]), read without executing anything; the header of safetensors
//! files ([`SafetensorsHeader`]), for readers that need only that.
//!
//! Files are mapped: a tensor's bytes come into memory when they are used, and are handed out in place wherever they lie
//! as row-major little-endian f32, bf16 or f16. Only compressed, permuted, big-endian or double-precision tensors are
//! copied, each when it is first used. A damaged or hostile file gets an error: reading allocates at most in proportion
//! to the file (deflate's own limit, 1,032 times, for what is compressed).
//!
//! **What must not live here:** what tensors mean (models, dictionaries, activations), kernels, and `unsafe` code.

mod element_type;
mod error;
mod npy;
mod npz;
mod pickle;
mod safetensors_header;
mod stored_tensor;
mod tensor_file;
mod torch_file;
mod torch_legacy;
mod zip_directory;

pub use element_type::ElementType;
pub use error::{Result, TensorFileError};
pub use pickle::PickledValue;
pub use safetensors_header::{HeaderError, SafetensorsHeader};
pub use tensor_file::{Container, TensorFile, TensorInfo};
pub use torch_file::TorchFile;
