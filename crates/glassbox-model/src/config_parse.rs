//! Reading `config.json`, as transformers 4 and 5 write it, and `generation_config.json` beside it.
//!
//! Every key is either read or on a list of keys known not to change the arithmetic ([`known_keys`]); any other
//! key is an error. Where a file leaves a key out, transformers' default for the family holds.

mod dimensions;
mod keys;
pub mod known_keys;
mod rope;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Family, ModelConfig};
use crate::families;
use crate::load_error::LoadError;

pub(crate) use dimensions::{
    Heads, activation, epsilon, grouped_heads, layers, longest_sequence, windows_by_layer_type,
};
pub(crate) use keys::Keys;
pub(crate) use rope::positions;

/// Reads `config.json` of a model folder, and the tokens that end a generation from `generation_config.json` if
/// it is there.
///
/// # Errors
/// [`LoadError`] naming the file and the key.
pub fn read_config(folder: &Path) -> Result<ModelConfig, LoadError> {
    let path = folder.join("config.json");
    if !path.is_file() {
        return Err(LoadError::MissingFile {
            folder: folder.to_path_buf(),
            file: "config.json",
        });
    }
    let mut config = parse_config(&path, &read_json(&path)?)?;
    let generation = folder.join("generation_config.json");
    if generation.is_file() {
        read_generation_tokens(&generation, &mut config)?;
    }
    Ok(config)
}

/// Parses the JSON of a `config.json`; `path` names it in errors.
///
/// # Errors
/// [`LoadError`] naming the key.
pub fn parse_config(path: &Path, json: &Value) -> Result<ModelConfig, LoadError> {
    let keys = Keys::new(path, json)?;
    let family = family(&keys)?;
    let config = families::parse(family, &keys)?;
    keys.finish(&[known_keys::COMMON, families::known_keys(family)])?;
    Ok(config)
}

/// Reads and parses a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_path_buf(),
        action: "read the file",
        source,
    };
    let text = std::fs::read(path).map_err(io)?;
    serde_json::from_slice(&text).map_err(|source| LoadError::Json {
        path: PathBuf::from(path),
        source,
    })
}

fn family(keys: &Keys<'_>) -> Result<Family, LoadError> {
    let valid = Family::ALL.map(Family::model_type);
    let name = keys
        .text("model_type")?
        .ok_or_else(|| keys.missing("model_type", &valid.join(" or ")))?;
    let family = Family::ALL
        .into_iter()
        .find(|family| family.model_type() == name)
        .ok_or_else(|| keys.unsupported("model_type", "model type", name, &valid))?;
    for architecture in keys.texts("architectures")?.unwrap_or_default() {
        if architecture != family.architecture() {
            return Err(keys.unsupported(
                "architectures",
                "architecture",
                architecture,
                &[family.architecture()],
            ));
        }
    }
    Ok(family)
}

/// Token ids of a configuration: the given ones must be in the vocabulary, a default counts only if it is.
pub(crate) fn special_tokens(
    keys: &Keys<'_>,
    key: &str,
    default: Option<u32>,
    vocab_size: usize,
) -> Result<Vec<u32>, LoadError> {
    let in_vocabulary = |id: &u32| (*id as usize) < vocab_size;
    match keys.token_ids(key)? {
        Some(ids) if ids.iter().all(in_vocabulary) => Ok(ids),
        Some(_) => Err(keys.bad_value(
            key,
            &format!("token ids below the vocabulary's size, {vocab_size}"),
        )),
        None => Ok(default.filter(in_vocabulary).into_iter().collect()),
    }
}

/// The beginning-of-sequence token of a configuration.
pub(crate) fn bos_token(
    keys: &Keys<'_>,
    default: Option<u32>,
    vocab_size: usize,
) -> Result<Option<u32>, LoadError> {
    match special_tokens(keys, "bos_token_id", default, vocab_size)?[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => Err(keys.bad_value("bos_token_id", "one token id")),
    }
}

/// Takes the end tokens of `generation_config.json`, which stand above those of `config.json`, and its beginning
/// token where `config.json` has none. The file's other keys are defaults of text generation, which is stated
/// explicitly here.
fn read_generation_tokens(path: &Path, config: &mut ModelConfig) -> Result<(), LoadError> {
    let json = read_json(path)?;
    let keys = Keys::new(path, &json)?;
    let end = special_tokens(&keys, "eos_token_id", None, config.vocab_size)?;
    if !end.is_empty() {
        config.eos_token_ids = end;
    }
    let beginning = bos_token(&keys, None, config.vocab_size)?;
    config.bos_token_id = config.bos_token_id.or(beginning);
    Ok(())
}
