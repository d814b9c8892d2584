//! What `torch.save` wrote before version 1.6: pickles one after another, then the storages.
//!
//! The pickles are a magic number, the version of the layout, a dict about the machine, the tree, and the list of the
//! storages' keys. For each key follow its number of elements (64 bits) and the elements.

use std::collections::HashMap;

use crate::pickle::{Pickle, PickleError, interpret};
use crate::stored_tensor::Packing;
use crate::torch_file::StoragePlace;

/// 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Why such a file can't be read.
pub(crate) enum LegacyError {
    Pickle(PickleError),
    Other(String),
}

/// The tree and the places of its storages.
pub(crate) fn read_legacy(bytes: &[u8]) -> Result<(Pickle, HashMap<String, StoragePlace>), LegacyError> {
    let mut at = 0;
    let mut next = |what: &str| {
        let pickle = interpret(&bytes[at..]).map_err(|error| match error {
            PickleError::Damaged {
                what: cause,
                at: place,
            } => PickleError::Damaged {
                what: format!("{what}: {cause}"),
                at: at + place,
            },
            PickleError::Refused {
                what: cause,
                at: place,
            } => PickleError::Refused {
                what: cause,
                at: at + place,
            },
        });
        let pickle = pickle.map_err(LegacyError::Pickle)?;
        at += pickle.length;
        Ok((pickle, at))
    };
    let other = |what: &str| Err(LegacyError::Other(what.to_owned()));
    let (magic, _) = next("the magic number")?;
    if magic.root().large_integer() != Some(&MAGIC) {
        return other("it is a pickle, but not one that torch.save wrote (its magic number is missing)");
    }
    let (version, _) = next("the version")?;
    if version.root().integer() != Some(VERSION) {
        return other("it has another version of PyTorch's old layout than 1001");
    }
    let (machine, _) = next("the description of the machine")?;
    if machine.root().get("little_endian").and_then(|value| value.flag()) != Some(true) {
        return other("it was written on a big-endian machine");
    }
    let (tree, _) = next("the tree")?;
    let (keys, mut at) = next("the list of storages")?;
    let types: HashMap<&str, usize> = tree
        .storages()
        .map(|storage| (storage.key.as_str(), storage.element_type.bytes()))
        .collect();
    let mut storages = HashMap::new();
    for key in keys.root().items() {
        let place = key.text().and_then(|key| Some((key, *types.get(key)?)));
        let Some((key, size)) = place else {
            return other("its list of storages names one that no tensor lies in");
        };
        let range = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<8>())
            .and_then(|count| usize::try_from(i64::from_le_bytes(*count)).ok())
            .and_then(|count| count.checked_mul(size))
            .and_then(|length| Some(at + 8..(at + 8).checked_add(length)?))
            .filter(|range| range.end <= bytes.len());
        let Some(range) = range else {
            return Err(LegacyError::Other(format!(
                "it ends within storage `{}` (which begins at byte {at})",
                key.escape_debug()
            )));
        };
        at = range.end;
        let place = StoragePlace {
            range,
            packing: Packing::Stored,
        };
        storages.insert(key.to_owned(), place);
    }
    Ok((tree, storages))
}
