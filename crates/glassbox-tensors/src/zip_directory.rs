//! The entries of a zip archive that is mapped into memory.

use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use crate::stored_tensor::{Packing, Run};

/// One file in an archive.
#[derive(Debug)]
pub(crate) struct ZipEntry {
    pub(crate) name: String,
    pub(crate) run: Run,
    /// CRC-32 of the decompressed bytes, as the archive states it.
    pub(crate) checksum: u32,
}

/// Lists the files of an archive: stored ones can be used in place.
pub(crate) fn read_directory(bytes: &[u8]) -> Result<Vec<ZipEntry>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|cause| cause.to_string())?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let file = archive
            .by_index_raw(index)
            .map_err(|cause| format!("entry {index} of the archive: {cause}"))?;
        if file.is_dir() {
            continue;
        }
        let name = file
            .name()
            .map_err(|cause| format!("entry {index} of the archive: {cause}"))?;
        let name = name.into_owned();
        let packing = match file.compression() {
            CompressionMethod::Stored => Packing::Stored,
            CompressionMethod::Deflated => Packing::Deflated {
                length: file.size(),
                checksum: file.crc32(),
            },
            other => {
                return Err(format!(
                    "`{name}` is compressed with {other}; stored and deflated entries are read"
                ));
            }
        };
        if file.encrypted() {
            return Err(format!("`{name}` is encrypted"));
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let length = usize::try_from(file.compressed_size()).ok();
        let range = start
            .zip(length)
            .and_then(|(start, length)| Some(start..start.checked_add(length)?))
            .filter(|range| range.end <= bytes.len());
        let Some(range) = range else {
            return Err(format!("`{name}` should end beyond the end of the file"));
        };
        if packing == Packing::Stored && file.size() != file.compressed_size() {
            return Err(format!(
                "`{name}` is stored, but with another length than it states"
            ));
        }
        entries.push(ZipEntry {
            name,
            run: Run::new(range, packing),
            checksum: file.crc32(),
        });
    }
    Ok(entries)
}
