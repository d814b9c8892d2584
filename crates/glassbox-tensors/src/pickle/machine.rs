//! The stack machine of pickles, protocols 2 to 5.

use std::collections::HashMap;

use thiserror::Error;

use super::global::{self, Global};
use super::value::{Id, Node, Pickle, StorageReference, TensorReference};
use crate::npy;

/// Values in a pickle at most; a checkpoint has some thousands.
const MOST_VALUES: usize = 1 << 22;
/// Bytes of text at most, all together.
const MOST_TEXT: usize = 1 << 26;

/// Why a pickle can't be read. Offsets count from the pickle's first byte.
#[derive(Debug, Error)]
pub(crate) enum PickleError {
    /// No pickle, or cut off.
    #[error("{what} (at byte {at} of its pickle)")]
    Damaged { what: String, at: usize },
    /// A pickle of something that is not plain data.
    #[error("{what} (at byte {at} of its pickle)")]
    Refused { what: String, at: usize },
}

/// Reads one pickle from the beginning of some bytes.
pub(crate) fn interpret(bytes: &[u8]) -> Result<Pickle, PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        opcode_at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        text: 0,
    };
    loop {
        machine.opcode_at = machine.at;
        let opcode = machine.byte()?;
        if opcode == b'.' {
            break;
        }
        machine.step(opcode)?;
    }
    let root = machine.pop()?;
    Ok(Pickle {
        nodes: machine.nodes,
        root,
        length: machine.at,
    })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the current operation began.
    opcode_at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes of text copied so far.
    text: usize,
}

type Outcome<T = ()> = Result<T, PickleError>;

impl<'a> Machine<'a> {
    fn damaged<T>(&self, what: impl Into<String>) -> Outcome<T> {
        Err(PickleError::Damaged {
            what: what.into(),
            at: self.opcode_at,
        })
    }

    fn refused<T>(&self, what: impl Into<String>) -> Outcome<T> {
        Err(PickleError::Refused {
            what: what.into(),
            at: self.opcode_at,
        })
    }

    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let end = self.at.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => self.damaged("it is cut off"),
        }
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A length in so many bytes.
    fn length(&mut self, bytes: usize) -> Outcome<usize> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(number)).or_else(|_| self.damaged("a length is too large"))
    }

    fn copied(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let bytes = self.take(count)?;
        self.text += count;
        if self.text > MOST_TEXT {
            return self.refused(format!("it holds more than {MOST_TEXT} bytes of text"));
        }
        Ok(bytes)
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.bytes[self.at..];
        // No name is longer; a search of a whole file for a line's end would be one.
        let Some(end) = rest.iter().take(4096).position(|byte| *byte == b'\n') else {
            return self.damaged("a name does not end");
        };
        let line = self.take(end + 1)?;
        match std::str::from_utf8(&line[..end]) {
            Ok(line) => Ok(line),
            Err(_) => self.damaged("a name is not text"),
        }
    }

    fn new_node(&mut self, node: Node) -> Outcome<Id> {
        if self.nodes.len() >= MOST_VALUES {
            return self.refused(format!("it holds more than {MOST_VALUES} values"));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn push(&mut self, node: Node) -> Outcome {
        let id = self.new_node(node)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Outcome {
        if self.stack.len() >= MOST_VALUES {
            return self.refused(format!("it stacks more than {MOST_VALUES} values"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return self.damaged("its stack is empty");
        }
        match self.stack.pop() {
            Some(id) => Ok(id),
            None => self.damaged("its stack is empty"),
        }
    }

    fn top(&self) -> Outcome<Id> {
        match self.stack.last() {
            Some(id) => Ok(*id),
            None => self.damaged("its stack is empty"),
        }
    }

    /// The values above the topmost mark, which goes.
    fn pop_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => self.damaged("a mark is missing"),
        }
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    fn step(&mut self, opcode: u8) -> Outcome {
        match opcode {
            0x80 => match self.byte()? {
                2..=5 => Ok(()),
                other => self.refused(format!("pickle protocol {other}; 2 to 5 are read")),
            },
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                if self.marks.len() >= MOST_VALUES {
                    return self.refused("it is nested too deeply");
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => {
                let id = self.top()?;
                self.push_id(id)
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Flag(true)),
            0x89 => self.push(Node::Flag(false)),
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Node::Integer(number.into()))
            }
            b'K' => {
                let number = self.byte()?;
                self.push(Node::Integer(number.into()))
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Node::Integer(number.into()))
            }
            0x8a => {
                let length = self.length(1)?;
                self.integer(length)
            }
            0x8b => {
                let length = self.length(4)?;
                self.integer(length)
            }
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(number))
            }
            b'X' | 0x8c | 0x8d | b'U' | b'T' => {
                let length = self.length(match opcode {
                    b'X' | b'T' => 4,
                    0x8d => 8,
                    _ => 1,
                })?;
                let bytes = self.copied(length)?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.push(Node::Text(text.to_owned())),
                    Err(_) => self.push(Node::Bytes(bytes.to_vec())),
                }
            }
            b'B' | b'C' | 0x8e => {
                let length = self.length(match opcode {
                    b'B' => 4,
                    0x8e => 8,
                    _ => 1,
                })?;
                let bytes = self.copied(length)?.to_vec();
                self.push(Node::Bytes(bytes))
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                self.push(Node::Dict(Vec::new()))?;
                let dict = self.pop()?;
                let items = self.pop_mark()?;
                self.push_id(dict)?;
                self.add_entries(&items)
            }
            0x8f => self.push(Node::Set(Vec::new())),
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::Set(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.add_items(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.add_items(items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.add_entries(&[key, value])
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.add_entries(&items)
            }
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)
            }
            b'q' => {
                let key = self.byte()?.into();
                self.memorise(key)
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.memorise(key)
            }
            0x94 => self.memorise(self.memo.len() as u32),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (self.node(module), self.node(name)) else {
                    return self.damaged("a name is not text");
                };
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(callee, arguments)
            }
            b'b' => self.build(),
            b'Q' => self.persistent(),
            other => self.refused(format!("operation {other:#04x} of Python's pickles is not read")),
        }
    }

    fn integer(&mut self, length: usize) -> Outcome {
        let bytes = self.copied(length)?;
        if length > 8 {
            return self.push(Node::LargeInteger(bytes.to_vec()));
        }
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        number[..length].copy_from_slice(bytes);
        self.push(Node::Integer(i64::from_le_bytes(number)))
    }

    fn add_items(&mut self, items: Vec<Id>) -> Outcome {
        let container = self.top()?;
        match &mut self.nodes[container as usize] {
            Node::List(list) | Node::Set(list) => {
                list.extend(items);
                Ok(())
            }
            _ => self.damaged("an item is added to what is no list"),
        }
    }

    fn add_entries(&mut self, items: &[Id]) -> Outcome {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.damaged("a key has no value");
        }
        let dict = self.top()?;
        match &mut self.nodes[dict as usize] {
            Node::Dict(entries) => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => self.damaged("an entry is added to what is no dict"),
        }
    }

    fn recall(&mut self, key: u32) -> Outcome {
        match self.memo.get(&key) {
            Some(id) => self.push_id(*id),
            None => self.damaged(format!("value {key} is referred to before it is made")),
        }
    }

    fn memorise(&mut self, key: u32) -> Outcome {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Outcome {
        match global::find(module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => self.refused(format!(
                "it names `{module}.{name}`, which only running Python code could make"
            )),
        }
    }

    fn call(&mut self, callee: Id, arguments: Id) -> Outcome {
        let (Node::Global(global), Node::Tuple(arguments)) = (self.node(callee), self.node(arguments)) else {
            return self.refused("it calls what is no name of the list, or without arguments");
        };
        let (global, arguments) = (*global, arguments.clone());
        let first = arguments.first().copied();
        match (global, first) {
            (Global::Dict, _) => self.dict(&arguments),
            (Global::Set, None) => self.push(Node::Set(Vec::new())),
            (Global::Set, Some(items)) => match self.node(items) {
                Node::List(items) | Node::Tuple(items) | Node::Set(items) => {
                    let items = items.clone();
                    self.push(Node::Set(items))
                }
                _ => self.damaged("a set is made of what is no list"),
            },
            (Global::Tensor, Some(_)) => self.tensor(&arguments),
            (Global::Parameter, Some(tensor)) if matches!(self.node(tensor), Node::Tensor(_)) => {
                self.push_id(tensor)
            }
            (Global::Size, Some(sizes)) if matches!(self.node(sizes), Node::Tuple(_)) => self.push_id(sizes),
            (Global::Opaque(kind), _) => self.push(Node::Opaque(kind)),
            (Global::NumpyType, Some(descr)) => {
                let Node::Text(descr) = self.node(descr) else {
                    return self.damaged("a NumPy type is not text");
                };
                match npy::element_type(descr) {
                    Ok((element_type, big_endian)) => self.push(Node::NumpyType {
                        element_type,
                        big_endian,
                    }),
                    Err(what) => self.refused(format!("a NumPy scalar of {what}")),
                }
            }
            (Global::NumpyScalar, Some(_)) => self.numpy_scalar(&arguments),
            (Global::Bytes, Some(text)) => {
                let Node::Text(text) = self.node(text) else {
                    return self.damaged("bytes are made of what is no text");
                };
                // Latin-1: one byte per character.
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                match bytes {
                    Some(bytes) => {
                        self.text += bytes.len();
                        if self.text > MOST_TEXT {
                            return self.refused(format!("it holds more than {MOST_TEXT} bytes of text"));
                        }
                        self.push(Node::Bytes(bytes))
                    }
                    None => self.damaged("bytes are made of a text that is not Latin-1"),
                }
            }
            _ => self.damaged("a constructor has the wrong arguments"),
        }
    }

    /// A dict from nothing, or from a list of pairs as Python 2 wrote them.
    fn dict(&mut self, arguments: &[Id]) -> Outcome {
        let mut entries = Vec::new();
        for argument in arguments {
            match self.node(*argument) {
                Node::List(pairs) => {
                    for pair in pairs {
                        match self.node(*pair) {
                            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => {
                                entries.push((pair[0], pair[1]));
                            }
                            _ => return self.damaged("a dict is made of what are no pairs"),
                        }
                    }
                }
                Node::Dict(more) => entries.extend_from_slice(more),
                // The maker of a defaultdict's values.
                Node::Global(_) | Node::None => {}
                _ => return self.damaged("a dict is made of what are no pairs"),
            }
            if entries.len() > MOST_VALUES {
                return self.refused(format!("it holds more than {MOST_VALUES} values"));
            }
        }
        self.push(Node::Dict(entries))
    }

    fn tensor(&mut self, arguments: &[Id]) -> Outcome {
        let [storage, offset, shape, strides, ..] = arguments else {
            return self.damaged("a tensor has too few arguments");
        };
        if !matches!(self.node(*storage), Node::Storage(_)) {
            return self.damaged("a tensor has no storage");
        }
        let lengths = |id: &Id| match self.node(*id) {
            Node::Tuple(items) | Node::List(items) => items
                .iter()
                .map(|item| match self.node(*item) {
                    Node::Integer(number) => usize::try_from(*number).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let offset = match self.node(*offset) {
            Node::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let (Some(offset), Some(shape), Some(strides)) = (offset, lengths(shape), lengths(strides)) else {
            return self.damaged("a tensor's offset, shape or strides are not whole numbers of at least 0");
        };
        let storage = *storage;
        self.push(Node::Tensor(TensorReference {
            storage,
            offset,
            shape,
            strides,
        }))
    }

    fn numpy_scalar(&mut self, arguments: &[Id]) -> Outcome {
        let [element_type, bytes] = arguments else {
            return self.damaged("a NumPy scalar has the wrong arguments");
        };
        let (
            Node::NumpyType {
                element_type,
                big_endian,
            },
            Node::Bytes(bytes),
        ) = (self.node(*element_type), self.node(*bytes))
        else {
            return self.damaged("a NumPy scalar has the wrong arguments");
        };
        let mut bytes = bytes.clone();
        if *big_endian {
            bytes.reverse();
        }
        let element_type = *element_type;
        match element_type.number(&bytes) {
            Some(number) if element_type.is_float() => self.push(Node::Float(number)),
            // Whole numbers beyond 2^53 lose their last digits.
            Some(number) => self.push(Node::Integer(number as i64)),
            None => self.damaged("a NumPy scalar has the wrong number of bytes"),
        }
    }

    /// Sets an object's state: of plain data only what changes a NumPy type's byte order matters.
    fn build(&mut self) -> Outcome {
        let state = self.pop()?;
        let object = self.top()?;
        let reversed = match self.node(state) {
            Node::Tuple(items) => items
                .get(1)
                .is_some_and(|order| matches!(self.node(*order), Node::Text(order) if order == ">")),
            _ => false,
        };
        match &mut self.nodes[object as usize] {
            Node::NumpyType { big_endian, .. } => {
                *big_endian |= reversed;
                Ok(())
            }
            Node::Dict(_) | Node::Tensor(_) => Ok(()),
            _ => self.refused("it sets the state of an object that is not plain data"),
        }
    }

    /// A storage, by its reference: ('storage', type, key, device, elements).
    fn persistent(&mut self) -> Outcome {
        let id = self.pop()?;
        let Node::Tuple(items) = self.node(id) else {
            return self.damaged("a reference to a storage is no tuple");
        };
        let mut parts = items.iter().map(|item| self.node(*item));
        let (
            Some(Node::Text(kind)),
            Some(Node::Global(Global::Storage(element_type))),
            Some(Node::Text(key)),
            Some(_),
            Some(Node::Integer(count)),
        ) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        )
        else {
            return self.damaged("a reference to a storage has the wrong parts");
        };
        if kind != "storage" {
            return self.refused(format!(
                "it refers to a `{}`, not to a storage",
                kind.escape_debug()
            ));
        }
        if let Some(view) = parts.next()
            && !matches!(view, Node::None)
        {
            return self.refused("it refers to a part of a storage, as PyTorch before 0.4 did");
        }
        let Ok(count) = u64::try_from(*count) else {
            return self.damaged("a storage has fewer than 0 elements");
        };
        let storage = StorageReference {
            key: key.clone(),
            element_type: *element_type,
            count,
        };
        self.push(Node::Storage(storage))
    }
}
