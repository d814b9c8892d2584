//! A model's fingerprint: one hash over its configuration and weights.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::checkpoint::weight_paths;
use crate::load_error::LoadError;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// BLAKE3 over `config.json` and the weight files in order of their names, in hexadecimal. Each file enters as its
/// name, its length and its content, so that equal hashes mean equal files under equal names. Files are read in
/// chunks: memory does not grow with their size.
///
/// # Errors
/// [`LoadError`] if a file is missing or can't be read.
pub fn model_hash(folder: &Path) -> Result<String, LoadError> {
    let mut hasher = blake3::Hasher::new();
    let config = folder.join("config.json");
    if !config.is_file() {
        return Err(LoadError::MissingFile {
            folder: folder.to_path_buf(),
            file: "config.json",
        });
    }
    let mut chunk = vec![0; CHUNK];
    for path in std::iter::once(config).chain(weight_paths(folder)?) {
        hash_file(&mut hasher, &path, &mut chunk).map_err(|source| LoadError::Io {
            path: path.clone(),
            action: "read the file",
            source,
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn hash_file(hasher: &mut blake3::Hasher, path: &Path, chunk: &mut [u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut file = File::open(path)?;
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name);
    hasher.update(&file.metadata()?.len().to_le_bytes());
    loop {
        match file.read(chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}
