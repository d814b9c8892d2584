//! BLAKE3 checksums of bytes and files.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::StoreError;

/// A BLAKE3 checksum of 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(blake3::Hash);

impl From<blake3::Hash> for Checksum {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.to_hex().as_str())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Checksum({self})")
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(Self)
            .map_err(|cause| format!("`{text}` is not a checksum of 64 hexadecimal digits: {cause}"))
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The checksum of some bytes.
pub fn hash_bytes(bytes: &[u8]) -> Checksum {
    Checksum(blake3::hash(bytes))
}

/// The checksum of a file's content, read in pieces.
///
/// # Errors
/// [`StoreError::Io`] if the file cannot be read.
pub fn hash_file(path: &Path) -> Result<Checksum, StoreError> {
    let failed = |cause| StoreError::Io {
        action: "read",
        path: path.to_path_buf(),
        cause,
    };
    // Before it is opened: to open a pipe is to wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no regular file")));
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Checksum(hasher.finalize())),
            Ok(read) => read,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(failed(cause)),
        };
        hasher.update(&buffer[..read]);
    }
}

/// The checksum of a file's first and last `length` bytes, which may overlap.
///
/// # Errors
/// [`StoreError::Io`] if the file cannot be read.
pub fn hash_ends(path: &Path, length: u64) -> Result<Checksum, StoreError> {
    let failed = |cause| StoreError::Io {
        action: "read",
        path: path.to_path_buf(),
        cause,
    };
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut hasher = blake3::Hasher::new();
    let mut end = Vec::new();
    for start in [0, bytes.saturating_sub(length)] {
        end.clear();
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        file.by_ref().take(length).read_to_end(&mut end).map_err(failed)?;
        hasher.update(&end);
    }
    Ok(Checksum(hasher.finalize()))
}

/// One checksum over several files under names of the caller's choice, such as the shards of a checkpoint. It depends on names and
/// contents, not on the order given nor on where the files lie.
///
/// # Errors
/// [`StoreError::Io`] if a file cannot be read.
pub fn hash_named_files<N: AsRef<str>>(files: &[(N, PathBuf)]) -> Result<Checksum, StoreError> {
    let mut parts = files
        .iter()
        .map(|(name, path)| Ok((name.as_ref(), hash_file(path)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    parts.sort_by(|one, other| one.0.cmp(other.0));
    let mut hasher = blake3::Hasher::new();
    for (name, checksum) in parts {
        // The length in front of the name keeps two different lists from having the same bytes.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(checksum.0.as_bytes());
    }
    Ok(Checksum(hasher.finalize()))
}

/// What differs between a file and what was recorded about it; `None` if nothing does.
///
/// # Errors
/// [`StoreError::Io`] if the file is there but cannot be read.
pub(crate) fn file_mismatch(
    path: &Path,
    bytes: u64,
    checksum: Checksum,
) -> Result<Option<String>, StoreError> {
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("the file is missing".to_string()));
        }
        Err(cause) => {
            return Err(StoreError::Io {
                action: "read",
                path: path.to_path_buf(),
                cause,
            });
        }
        Ok(metadata) if metadata.len() != bytes => {
            return Ok(Some(format!(
                "it has {} bytes, {bytes} were written",
                metadata.len()
            )));
        }
        Ok(_) => {}
    }
    let found = hash_file(path)?;
    Ok((found != checksum).then(|| format!("its checksum is {found}, that of the written file {checksum}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_have_one_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let checksum = hash_file(&path).unwrap();
        assert_eq!(checksum, hash_bytes(&bytes));
        assert_eq!(checksum.to_string().parse::<Checksum>().unwrap(), checksum);
        assert!(
            "12".parse::<Checksum>()
                .unwrap_err()
                .contains("64 hexadecimal digits")
        );
    }

    #[test]
    fn named_files_depend_on_names_and_contents_only() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, "one").unwrap();
        std::fs::write(&b, "two").unwrap();
        let checksum = hash_named_files(&[("x", a.clone()), ("y", b.clone())]).unwrap();
        assert_eq!(
            checksum,
            hash_named_files(&[("y", b.clone()), ("x", a.clone())]).unwrap()
        );
        assert_ne!(checksum, hash_named_files(&[("x", b), ("y", a.clone())]).unwrap());
        assert_ne!(checksum, hash_named_files(&[("x", a)]).unwrap());
    }
}
