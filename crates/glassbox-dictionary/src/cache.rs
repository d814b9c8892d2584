//! Dictionaries on demand, within a budget of bytes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glassbox_kernels::{Backend, CpuBackend};

use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::formats;

/// Loads dictionaries when they are first asked for and keeps them as long as the budget allows.
///
/// When room is needed, the dictionary that was asked for the longest ago and that nobody holds any more goes first.
/// Dictionaries in use are never counted as free: if they leave no room, that is an error with the numbers.
#[derive(Debug)]
pub struct DictionaryCache<B: Backend = CpuBackend> {
    backend: B,
    budget: u64,
    contents: Mutex<Contents<B>>,
}

#[derive(Debug)]
struct Contents<B: Backend> {
    entries: HashMap<PathBuf, Entry<B>>,
    clock: u64,
    hits: u64,
    loads: u64,
    evictions: u64,
}

#[derive(Debug)]
struct Entry<B: Backend> {
    dictionary: Arc<Dictionary<B>>,
    bytes: u64,
    last_used: u64,
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Requests answered from memory.
    pub hits: u64,
    /// Requests that read a file.
    pub loads: u64,
    /// Dictionaries dropped to make room.
    pub evictions: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// Bytes that may be held.
    pub budget: u64,
}

impl<B: Backend> DictionaryCache<B> {
    /// An empty cache for a device, with a budget in bytes of stored weights.
    pub fn new(backend: &B, budget: u64) -> Self {
        let contents = Mutex::new(Contents {
            entries: HashMap::new(),
            clock: 0,
            hits: 0,
            loads: 0,
            evictions: 0,
        });
        Self {
            backend: backend.clone(),
            budget,
            contents,
        }
    }

    /// The dictionary in a folder.
    ///
    /// # Errors
    /// [`DictionaryError::OverBudget`] if it doesn't fit; else as [`formats::load`].
    pub fn get(&self, path: &Path) -> Result<Arc<Dictionary<B>>> {
        let key = path
            .canonicalize()
            .map_err(DictionaryError::io("find the dictionary", path))?;
        // Held during a load, so that two requests for one dictionary read it once.
        let mut contents = self.lock();
        contents.clock += 1;
        let now = contents.clock;
        if let Some(entry) = contents.entries.get_mut(&key) {
            entry.last_used = now;
            let dictionary = Arc::clone(&entry.dictionary);
            contents.hits += 1;
            return Ok(dictionary);
        }
        let stored = formats::open(path)?;
        let bytes = stored.bytes();
        contents.make_room(bytes, self.budget, path)?;
        let dictionary = Arc::new(stored.load(&self.backend)?);
        contents.loads += 1;
        contents.entries.insert(
            key,
            Entry {
                dictionary: Arc::clone(&dictionary),
                bytes,
                last_used: now,
            },
        );
        Ok(dictionary)
    }

    /// What it has done so far.
    pub fn statistics(&self) -> CacheStatistics {
        let contents = self.lock();
        CacheStatistics {
            hits: contents.hits,
            loads: contents.loads,
            evictions: contents.evictions,
            bytes: contents.bytes(),
            budget: self.budget,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<B>> {
        // Every change below leaves the contents consistent, so a panic elsewhere does not spoil them.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Contents<B> {
    fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    fn make_room(&mut self, needed: u64, budget: u64, path: &Path) -> Result<()> {
        while self.bytes().saturating_add(needed) > budget {
            let oldest = self
                .entries
                .iter()
                .filter(|(_, entry)| Arc::strong_count(&entry.dictionary) == 1)
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(key, _)| key.clone());
            // A dictionary that would not fit into the empty cache must not empty it first.
            match oldest.filter(|_| needed <= budget) {
                Some(key) => {
                    self.entries.remove(&key);
                    self.evictions += 1;
                }
                None => {
                    let in_use = self
                        .entries
                        .values()
                        .filter(|entry| Arc::strong_count(&entry.dictionary) > 1)
                        .map(|entry| entry.bytes)
                        .sum();
                    return Err(DictionaryError::OverBudget {
                        path: path.to_path_buf(),
                        needed,
                        budget,
                        in_use,
                    });
                }
            }
        }
        Ok(())
    }
}
