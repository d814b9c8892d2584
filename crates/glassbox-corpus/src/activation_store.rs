//! A folder of activations, opened for reading.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use glassbox_kernels::MappedFile;
use glassbox_model::site::Site;
use glassbox_store::{hash_bytes, hash_file};
use glassbox_tensors::SafetensorsHeader;

use crate::activation_type::{decode, first_above};
use crate::shard_file::SHARD_FORMAT;
use crate::{ActivationManifest, ActivationType, CorpusError, ShardEntry, SourceSite, Split};

/// What is said of a shard whose content is another one.
const DAMAGED: &str = "its checksum is not the recorded one: it is damaged, or of another extraction; `extract --resume` with the flags \
                       of the extraction makes it again";

/// A folder of activations. Shards are mapped when they are first used: memory is what the operating system chooses to keep.
#[derive(Debug)]
pub struct ActivationStore {
    folder: PathBuf,
    manifest: ActivationManifest,
    shards: Vec<OnceLock<Shard>>,
}

impl ActivationStore {
    /// Opens what [`crate::extract`] wrote. The size of every shard is checked here, its content when it is first used; [`Self::verify`]
    /// reads everything.
    ///
    /// # Errors
    /// [`CorpusError::NoActivations`], [`CorpusError::Unfinished`], [`CorpusError::Shard`] for a file that is missing or cut short.
    pub fn open(folder: &Path) -> Result<Self, CorpusError> {
        let manifest = ActivationManifest::read(folder)?;
        if !manifest.complete {
            return Err(CorpusError::Unfinished {
                folder: folder.to_path_buf(),
            });
        }
        for shard in &manifest.shards {
            let path = folder.join(&shard.file);
            let problem = match std::fs::metadata(&path) {
                Ok(metadata) if metadata.len() == shard.bytes => continue,
                Ok(metadata) => format!(
                    "it has {} bytes, the manifest says {}",
                    metadata.len(),
                    shard.bytes
                ),
                Err(cause) => cause.to_string(),
            };
            return Err(CorpusError::Shard { path, problem });
        }
        Ok(Self {
            shards: manifest.shards.iter().map(|_| OnceLock::new()).collect(),
            folder: folder.to_path_buf(),
            manifest,
        })
    }

    /// What the folder holds, and what made it.
    #[must_use]
    pub fn manifest(&self) -> &ActivationManifest {
        &self.manifest
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The sites.
    #[must_use]
    pub fn sites(&self) -> &[SourceSite] {
        &self.manifest.sites
    }

    /// Tokens of both splits.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.manifest.tokens(None)
    }

    /// Place of a site in [`Self::sites`].
    ///
    /// # Errors
    /// [`CorpusError::WrongActivations`] with the sites there are.
    pub fn site(&self, site: Site) -> Result<usize, CorpusError> {
        let place = self.sites().iter().position(|stored| stored.site == site);
        place.ok_or_else(|| {
            let sites: Vec<String> = self
                .sites()
                .iter()
                .map(|stored| stored.site.to_string())
                .collect();
            CorpusError::WrongActivations {
                folder: self.folder.clone(),
                problem: format!(
                    "have no site `{site}`; they have {}. Extract that site, or choose one of these",
                    sites.join(", ")
                ),
            }
        })
    }

    /// Checks that the activations are those of a model, by its hash ([`glassbox_model::model_hash::model_hash`]).
    ///
    /// # Errors
    /// [`CorpusError::WrongActivations`] with both hashes.
    pub fn ensure_model(&self, model: &str) -> Result<(), CorpusError> {
        if self.manifest.model == model {
            return Ok(());
        }
        Err(CorpusError::WrongActivations {
            folder: self.folder.clone(),
            problem: format!(
                "are of another model (its hash is {}, this model's {model}); extract them from this model",
                self.manifest.model
            ),
        })
    }

    /// Reads every shard and compares it with its checksum. `advanced` gets the bytes of each.
    ///
    /// # Errors
    /// [`CorpusError::Shard`] with the first shard that differs.
    pub fn verify(&self, mut advanced: impl FnMut(u64)) -> Result<(), CorpusError> {
        for shard in &self.manifest.shards {
            let path = self.folder.join(&shard.file);
            if hash_file(&path)? != shard.checksum {
                return Err(CorpusError::Shard {
                    path,
                    problem: DAMAGED.to_owned(),
                });
            }
            advanced(shard.bytes);
        }
        Ok(())
    }

    /// Shard and row of it of a token, by its number over all shards.
    ///
    /// # Errors
    /// [`CorpusError::WrongActivations`] if there are not so many tokens.
    pub fn place(&self, token: u64) -> Result<(usize, usize), CorpusError> {
        if token >= self.tokens() {
            return Err(CorpusError::WrongActivations {
                folder: self.folder.clone(),
                problem: format!("have {} tokens; there is no token {token}", self.tokens()),
            });
        }
        let per_shard = self.manifest.tokens_per_shard.max(1);
        Ok(((token / per_shard) as usize, (token % per_shard) as usize))
    }

    /// The values of one token at the site of a place in [`Self::sites`], [width].
    ///
    /// # Errors
    /// As [`Self::place`] and [`Self::shard`], and [`CorpusError::NonFiniteStored`].
    pub fn row(&self, site: usize, token: u64) -> Result<Vec<f32>, CorpusError> {
        let (shard, row) = self.place(token)?;
        let mut values = vec![0.0; self.sites()[site].width];
        self.shard(shard)?.read(site, row, &mut values)?;
        Ok(values)
    }

    /// A shard by its number. It is mapped and compared with its checksum when it is first asked for.
    ///
    /// # Errors
    /// [`CorpusError::Shard`] if it is of another extraction, or damaged.
    pub fn shard(&self, number: usize) -> Result<&Shard, CorpusError> {
        if let Some(shard) = self.shards[number].get() {
            return Ok(shard);
        }
        let entry = &self.manifest.shards[number];
        let shard = Shard::open(&self.folder.join(&entry.file), &self.manifest, entry, number)?;
        Ok(self.shards[number].get_or_init(|| shard))
    }
}

/// A mapped shard.
#[derive(Debug)]
pub struct Shard {
    file: MappedFile,
    sites: Vec<SourceSite>,
    dtype: ActivationType,
    tokens: usize,
    /// Where each site's values begin in the file.
    values: Vec<usize>,
    documents: Vec<u64>,
    rows: Vec<u64>,
    token_ids: Vec<u32>,
    document_positions: Vec<u32>,
    positions: Vec<u32>,
    splits: Vec<Split>,
}

impl Shard {
    fn open(
        path: &Path,
        manifest: &ActivationManifest,
        entry: &ShardEntry,
        number: usize,
    ) -> Result<Self, CorpusError> {
        let refuse = |problem: String| CorpusError::Shard {
            path: path.to_path_buf(),
            problem,
        };
        let file = MappedFile::open(path).map_err(|error| refuse(error.to_string()))?;
        let bytes = file.as_bytes();
        let header =
            SafetensorsHeader::read(bytes, bytes.len() as u64).map_err(|error| refuse(error.to_string()))?;
        let note = |key: &str| {
            let found = header.notes().and_then(|notes| notes.get(key));
            found.map_or("", String::as_str)
        };
        for (key, expected) in [
            ("format", SHARD_FORMAT),
            ("model", manifest.model.as_str()),
            ("shard", &number.to_string()),
        ] {
            if note(key) != expected {
                return Err(refuse(format!(
                    "it is a shard of another extraction: its {key} is `{}`, expected `{expected}`",
                    note(key)
                )));
            }
        }
        let tokens = usize::try_from(entry.tokens).map_err(|error| refuse(error.to_string()))?;
        let start = |name: &str, dtype: &str, shape: &[usize]| {
            let found = header.tensor(name);
            match found {
                Some(info) if format!("{:?}", info.dtype) == dtype && info.shape == shape => {
                    Ok(header.data_start() as usize + info.data_offsets.0)
                }
                Some(info) => Err(refuse(format!(
                    "tensor `{name}` is {:?} {:?}, expected {dtype} {shape:?}",
                    info.dtype, info.shape
                ))),
                None => Err(refuse(format!(
                    "it has no tensor `{name}`; it has {}",
                    header.names().join(", ")
                ))),
            }
        };
        let values = manifest
            .sites
            .iter()
            .map(|site| {
                start(
                    &site.site.to_string(),
                    manifest.dtype.safetensors_name(),
                    &[tokens, site.width],
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let words = |name: &str| -> Result<Vec<u32>, CorpusError> {
            let at = start(name, "U32", &[tokens])?;
            let (words, _) = bytes[at..at + 4 * tokens].as_chunks::<4>();
            Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
        };
        let longs = |name: &str| -> Result<Vec<u64>, CorpusError> {
            let at = start(name, "U64", &[tokens])?;
            let (words, _) = bytes[at..at + 8 * tokens].as_chunks::<8>();
            Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
        };
        let splits_at = start("splits", "U8", &[tokens])?;
        let split = |&byte: &u8| if byte == 0 { Split::Train } else { Split::HeldOut };
        let shard = Self {
            documents: longs("documents")?,
            rows: longs("rows")?,
            token_ids: words("token_ids")?,
            document_positions: words("document_positions")?,
            positions: words("positions")?,
            splits: bytes[splits_at..splits_at + tokens].iter().map(split).collect(),
            sites: manifest.sites.clone(),
            dtype: manifest.dtype,
            tokens,
            values,
            file,
        };
        if hash_bytes(shard.file.as_bytes()) != entry.checksum {
            // A value that can't be says more than that something was changed.
            shard.check_finite()?;
            return Err(refuse(DAMAGED.to_owned()));
        }
        Ok(shard)
    }

    fn check_finite(&self) -> Result<(), CorpusError> {
        for (place, site) in self.sites.iter().enumerate() {
            let mut row = vec![0.0; site.width];
            (0..self.tokens).try_for_each(|token| self.read(place, token, &mut row))?;
        }
        Ok(())
    }

    /// Tokens in the shard.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Token ids [tokens].
    #[must_use]
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// Number of each token's document [tokens].
    #[must_use]
    pub fn documents(&self) -> &[u64] {
        &self.documents
    }

    /// Each token's place in its document [tokens].
    #[must_use]
    pub fn document_positions(&self) -> &[u32] {
        &self.document_positions
    }

    /// Number of each token's row [tokens].
    #[must_use]
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// Each token's position in its row [tokens].
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Which split each token belongs to [tokens].
    #[must_use]
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// Reads rows of a site, from row `first` on, until `into` [rows, width] is full. Every value is checked.
    ///
    /// # Errors
    /// [`CorpusError::NonFiniteStored`] with the first value that is not finite; [`CorpusError::Shard`] if there are not so many rows.
    pub fn read(&self, site: usize, first: usize, into: &mut [f32]) -> Result<(), CorpusError> {
        let SourceSite { site: name, width } = self.sites[site];
        let refuse = |problem: String| CorpusError::Shard {
            path: self.file.path().to_path_buf(),
            problem,
        };
        if first + into.len() / width > self.tokens {
            return Err(refuse(format!(
                "rows {first} to {} of `{name}` were asked for; it has {}",
                first + into.len() / width,
                self.tokens
            )));
        }
        let size = self.dtype.bytes();
        let start = self.values[site] + first * width * size;
        let bytes = &self.file.as_bytes()[start..start + into.len() * size];
        if !decode(self.dtype, bytes, into) {
            return Err(refuse(format!("the values of `{name}` are not aligned")));
        }
        match first_above(into, f32::MAX) {
            None => Ok(()),
            Some(index) => Err(CorpusError::NonFiniteStored {
                path: self.file.path().to_path_buf(),
                site: name,
                row: first + index / width,
                column: index % width,
                value: into[index],
            }),
        }
    }
}
