//! The whole state of a shuffle buffer as bytes: what follows a restored buffer is the same to the bit.
//!
//! A line of JSON (settings, sites, progress, the source's state), then in little-endian order the permutation, for every site the rows in
//! the buffer in the order of the permutation and the rows that still wait for a place, and last the BLAKE3 of all that.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::shuffle_buffer::Progress;
use crate::{ActivationSource, CorpusError, ShuffleBuffer, ShuffleSettings, SourceSite, SourceState};

/// Format of the bytes.
const FORMAT: u32 = 1;
/// The line of JSON may have this many bytes.
const LONGEST_HEADER: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    settings: ShuffleSettings,
    sites: Vec<SourceSite>,
    progress: Progress,
    source: SourceState,
}

impl<S: ActivationSource> ShuffleBuffer<S> {
    /// Writes everything that the following batches depend on, the source's state included.
    ///
    /// # Errors
    /// [`CorpusError::BufferIo`].
    pub fn save(&self, writer: &mut dyn Write) -> Result<(), CorpusError> {
        let header = Header {
            format: FORMAT,
            settings: self.settings().clone(),
            sites: self.sites().to_vec(),
            progress: self.progress.clone(),
            source: self.source().state(),
        };
        let mut writer = Hashed::new(writer);
        let written = serde_json::to_writer(&mut writer, &header)
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .and_then(|()| self.write_rows(&mut writer))
            .and_then(|()| writer.finish());
        written.map_err(|cause| CorpusError::BufferIo {
            action: "write",
            cause,
        })
    }

    fn write_rows(&self, writer: &mut impl Write) -> io::Result<()> {
        write_words(writer, self.order.iter().map(|place| place.to_le_bytes()))?;
        let Progress {
            live,
            taken,
            incoming,
            ..
        } = self.progress;
        for ((places, waiting), site) in self.places.iter().zip(&self.incoming).zip(self.sites()) {
            for &place in &self.order[..live] {
                let first = place as usize * site.width;
                let row = &places[first..first + site.width];
                write_words(writer, row.iter().map(|value| value.to_le_bytes()))?;
            }
            let waiting = &waiting[taken * site.width..incoming * site.width];
            write_words(writer, waiting.iter().map(|value| value.to_le_bytes()))?;
        }
        Ok(())
    }

    /// Continues where a buffer with the same settings and a source of the same data was saved. After an error the buffer is not to be
    /// used.
    ///
    /// # Errors
    /// [`CorpusError::StateMismatch`] if settings or sites are others, [`CorpusError::DamagedBuffer`] if the bytes were cut short or changed,
    /// [`CorpusError::BufferIo`], and those of the source's own [`ActivationSource::restore`].
    pub fn restore(&mut self, reader: &mut dyn Read) -> Result<(), CorpusError> {
        let mut reader = Hashed::new(reader);
        let header = read_header(&mut reader)?;
        let (settings, sites) = (self.settings().clone(), self.sites().to_vec());
        if header.settings != settings || header.sites != sites {
            return Err(CorpusError::StateMismatch {
                found: format!(
                    "of a shuffle buffer with {:?} at {}",
                    header.settings,
                    names(&header.sites)
                ),
                expected: format!("one with {settings:?} at {}", names(&sites)),
            });
        }
        let Progress {
            live,
            taken,
            incoming,
            ..
        } = header.progress;
        if live > settings.capacity || taken > incoming {
            return Err(damaged("more rows than it has places for"));
        }
        let mut bytes = Vec::new();
        read_words(&mut reader, settings.capacity, &mut bytes, |i, word| {
            self.order[i] = u32::from_le_bytes(word);
        })?;
        if !is_permutation(&self.order) {
            return Err(damaged("its order is no permutation"));
        }
        for (s, site) in sites.iter().enumerate() {
            for &place in &self.order[..live] {
                let first = place as usize * site.width;
                let row = &mut self.places[s][first..first + site.width];
                read_words(&mut reader, site.width, &mut bytes, |i, word| {
                    row[i] = f32::from_le_bytes(word);
                })?;
            }
            let waiting = &mut self.incoming[s];
            waiting.clear();
            read_words(
                &mut reader,
                (incoming - taken) * site.width,
                &mut bytes,
                |_, word| waiting.push(f32::from_le_bytes(word)),
            )?;
        }
        reader.verify()?;
        self.source_mut().restore(&header.source)?;
        self.progress = Progress {
            taken: 0,
            incoming: incoming - taken,
            ..header.progress
        };
        Ok(())
    }
}

fn names(sites: &[SourceSite]) -> String {
    let names: Vec<String> = sites
        .iter()
        .map(|site| format!("{} [{}]", site.site, site.width))
        .collect();
    names.join(", ")
}

fn damaged(problem: &str) -> CorpusError {
    CorpusError::DamagedBuffer {
        problem: problem.to_owned(),
    }
}

fn is_permutation(order: &[u32]) -> bool {
    let mut seen = vec![false; order.len()];
    order.iter().all(|&place| {
        seen.get_mut(place as usize)
            .is_some_and(|seen| !std::mem::replace(seen, true))
    })
}

fn read_failed(cause: io::Error) -> CorpusError {
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return damaged("it ends too early");
    }
    CorpusError::BufferIo {
        action: "read",
        cause,
    }
}

fn read_header(reader: &mut Hashed<&mut dyn Read>) -> Result<Header, CorpusError> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        reader.read_exact(&mut byte).map_err(read_failed)?;
        if byte[0] == b'\n' {
            break;
        }
        if line.len() == LONGEST_HEADER {
            return Err(damaged("it does not begin with a line of JSON"));
        }
        line.push(byte[0]);
    }
    let header: Header = serde_json::from_slice(&line).map_err(|cause| damaged(&cause.to_string()))?;
    if header.format != FORMAT {
        return Err(damaged(&format!(
            "it has format {}, this program reads {FORMAT}",
            header.format
        )));
    }
    Ok(header)
}

/// Writes words of four bytes, some thousand at a time.
fn write_words(writer: &mut impl Write, words: impl Iterator<Item = [u8; 4]>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1 << 14);
    for word in words {
        bytes.extend_from_slice(&word);
        if bytes.len() == 1 << 14 {
            writer.write_all(&bytes)?;
            bytes.clear();
        }
    }
    writer.write_all(&bytes)
}

/// Reads `count` words of four bytes and hands each on with its number.
fn read_words(
    reader: &mut impl Read,
    count: usize,
    bytes: &mut Vec<u8>,
    mut take: impl FnMut(usize, [u8; 4]),
) -> Result<(), CorpusError> {
    let mut done = 0;
    while done < count {
        bytes.resize(4 * (count - done).min(1 << 12), 0);
        reader.read_exact(bytes).map_err(read_failed)?;
        for word in bytes.as_chunks::<4>().0 {
            take(done, *word);
            done += 1;
        }
    }
    Ok(())
}

/// Passes bytes on and hashes them.
struct Hashed<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
        }
    }
}

impl<T: Write> Hashed<T> {
    /// Writes the hash of all that was written.
    fn finish(mut self) -> io::Result<()> {
        self.inner.write_all(self.hasher.finalize().as_bytes())?;
        self.inner.flush()
    }
}

impl<T: Read> Hashed<T> {
    /// Reads the hash and compares.
    fn verify(mut self) -> Result<(), CorpusError> {
        let mut stored = [0; 32];
        self.inner.read_exact(&mut stored).map_err(read_failed)?;
        if self.hasher.finalize() == blake3::Hash::from_bytes(stored) {
            return Ok(());
        }
        Err(damaged("its checksum does not fit its content"))
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
