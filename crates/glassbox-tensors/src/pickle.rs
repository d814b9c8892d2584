//! Python pickles, interpreted as data: nothing is imported and nothing is executed.
//!
//! A pickle is a program for a stack machine ([`machine`]). The only callables that it may name are those of a closed
//! list ([`global`]), each of which is a constructor of plain data here; every other name is refused with its place.
//! What comes out is a tree of plain values ([`value`]) in which tensors are references to storages elsewhere.

mod global;
mod machine;
mod value;

pub(crate) use global::LIST;
pub(crate) use machine::{PickleError, interpret};
pub use value::PickledValue;
pub(crate) use value::{Pickle, StorageReference, TensorReference};
