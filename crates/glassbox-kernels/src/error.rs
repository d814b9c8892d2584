//! What a kernel can refuse.

use thiserror::Error;

/// An operation was called with operands it can't work on.
///
/// Shapes are checked at every call, so a mistake above this crate is an error that names the operation,
/// never a read beyond a buffer.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KernelError {
    /// A buffer holds fewer elements than the stated shape needs.
    #[error("{op}: {operand} holds {found} elements, the shape needs {needed}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The operand's name in the operation's signature.
        operand: &'static str,
        /// Elements found.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// An index points outside the buffer it addresses.
    #[error("{op}: {operand} index {index} is out of range, the valid ones are 0 to {limit} (exclusive)")]
    Index {
        /// The operation.
        op: &'static str,
        /// The operand's name in the operation's signature.
        operand: &'static str,
        /// The index found.
        index: usize,
        /// One more than the largest valid index.
        limit: usize,
    },
    /// A parameter makes no sense (a zero head count, heads not divisible by key/value heads, …).
    #[error("{op}: {what}")]
    Parameter {
        /// The operation.
        op: &'static str,
        /// What is wrong, with the values.
        what: String,
    },
}

impl KernelError {
    /// `Err` unless `found >= needed`.
    ///
    /// # Errors
    /// [`KernelError::Shape`].
    pub fn check(op: &'static str, operand: &'static str, found: usize, needed: usize) -> Result<(), Self> {
        if found < needed {
            Err(Self::Shape {
                op,
                operand,
                found,
                needed,
            })
        } else {
            Ok(())
        }
    }
}
