//! What a pickle holds.

use std::fmt;

use super::global::Global;
use crate::element_type::ElementType;

/// The number of a value in its pickle.
pub(crate) type Id = u32;

/// A storage that tensors lie in; its bytes are elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageReference {
    pub(crate) key: String,
    pub(crate) element_type: ElementType,
    /// Elements, as the pickle states them.
    pub(crate) count: u64,
}

/// A tensor: a view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorReference {
    pub(crate) storage: Id,
    /// Of the first element, in elements.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    /// In elements.
    pub(crate) strides: Vec<usize>,
}

/// One value. Values refer to each other by number, so that a pickle may share them, or contain itself.
#[derive(Debug)]
pub(crate) enum Node {
    None,
    Flag(bool),
    Integer(i64),
    /// Little-endian two's complement.
    LargeInteger(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    NumpyType {
        element_type: ElementType,
        big_endian: bool,
    },
    Storage(StorageReference),
    Tensor(TensorReference),
    Opaque(&'static str),
}

/// A pickle's values.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    /// Bytes of the stream up to its end.
    pub(crate) length: usize,
}

impl Pickle {
    pub(crate) fn root(&self) -> PickledValue<'_> {
        PickledValue {
            pickle: self,
            id: self.root,
        }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// Every storage that is referred to.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &StorageReference> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The storage of a tensor.
    pub(crate) fn storage(&self, tensor: &TensorReference) -> Option<&StorageReference> {
        match self.node(tensor.storage) {
            Node::Storage(storage) => Some(storage),
            _ => None,
        }
    }
}

/// A value in a pickle.
#[derive(Clone, Copy)]
pub struct PickledValue<'a> {
    pickle: &'a Pickle,
    id: Id,
}

impl<'a> PickledValue<'a> {
    fn node(self) -> &'a Node {
        self.pickle.node(self.id)
    }

    fn with(self, id: Id) -> Self {
        Self {
            pickle: self.pickle,
            id,
        }
    }

    /// The value under a key of a dict; `None` without the key, or if this is no dict.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        let Node::Dict(entries) = self.node() else {
            return None;
        };
        // A later entry replaces an earlier one with the same key.
        let found = entries
            .iter()
            .rev()
            .find(|(id, _)| matches!(self.pickle.node(*id), Node::Text(text) if text == key))?;
        Some(self.with(found.1))
    }

    /// Keys (text, or whole numbers in digits) and values of a dict; nothing of anything else.
    pub fn entries(self) -> impl Iterator<Item = (String, Self)> {
        let entries: &[(Id, Id)] = match self.node() {
            Node::Dict(entries) => entries,
            _ => &[],
        };
        entries.iter().filter_map(move |(key, value)| {
            let key = match self.pickle.node(*key) {
                Node::Text(text) => text.clone(),
                Node::Integer(number) => number.to_string(),
                _ => return None,
            };
            Some((key, self.with(*value)))
        })
    }

    /// The values of a list, tuple or set; nothing of anything else.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let items: &[Id] = match self.node() {
            Node::Tuple(items) | Node::List(items) | Node::Set(items) => items,
            _ => &[],
        };
        items.iter().map(move |id| self.with(*id))
    }

    /// Whether it is a dict.
    #[must_use]
    pub fn is_dict(self) -> bool {
        matches!(self.node(), Node::Dict(_))
    }

    /// A whole number that fits 64 bits.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self.node() {
            Node::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        match self.node() {
            Node::Integer(number) => Some(*number as f64),
            Node::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self.node() {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// True or false.
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        match self.node() {
            Node::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// Whether it is Python's `None`.
    #[must_use]
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// Whether it is a tensor.
    #[must_use]
    pub fn is_tensor(self) -> bool {
        matches!(self.node(), Node::Tensor(_))
    }

    pub(crate) fn tensor(self) -> Option<&'a TensorReference> {
        match self.node() {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The bytes of a whole number beyond 64 bits, little endian.
    pub(crate) fn large_integer(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::LargeInteger(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// What it is, in a word.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self.node() {
            Node::None => "None",
            Node::Flag(_) => "a boolean",
            Node::Integer(_) | Node::LargeInteger(_) => "a whole number",
            Node::Float(_) => "a number",
            Node::Text(_) => "text",
            Node::Bytes(_) => "bytes",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dict",
            Node::Global(_) => "a name",
            Node::NumpyType { .. } => "an element type",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
            Node::Opaque(kind) => kind,
        }
    }
}

impl fmt::Debug for PickledValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the values inside: a pickle may contain itself.
        write!(f, "PickledValue({})", self.kind())
    }
}
