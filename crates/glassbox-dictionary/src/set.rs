//! A folder of dictionaries: one per site.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_kernels::Backend;
use glassbox_model::config::ModelConfig;
use glassbox_model::site::Site;

use crate::cache::DictionaryCache;
use crate::description::DictionaryDescription;
use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::formats;

/// The dictionaries of a folder and of the folders directly below it, by the site that each states. Their weights
/// stay on disk.
#[derive(Clone, Debug)]
pub struct DictionarySet {
    path: PathBuf,
    members: BTreeMap<Site, Member>,
}

/// One dictionary of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its folder, or its file where several lie in one folder.
    pub path: PathBuf,
    /// What it is; without checksums, which need a pass over the weights.
    pub description: DictionaryDescription,
    /// Bytes of its weights.
    pub bytes: u64,
}

impl DictionarySet {
    /// Finds the dictionaries of a folder. Folders that no format recognises are passed over.
    ///
    /// # Errors
    /// [`DictionaryError::EmptySet`], [`DictionaryError::DuplicateSite`], and whatever is wrong with a dictionary.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut members: BTreeMap<Site, Member> = BTreeMap::new();
        for path in formats::members_below(folder)? {
            let Some(format) = formats::recognise(&path) else {
                continue;
            };
            let stored = format.open(&path)?;
            let site = stored.description().site;
            if let Some(first) = members.get(&site) {
                return Err(DictionaryError::DuplicateSite {
                    site,
                    first: first.path.clone(),
                    second: path,
                });
            }
            let bytes = stored.bytes();
            members.insert(
                site,
                Member {
                    path,
                    description: stored.description().clone(),
                    bytes,
                },
            );
        }
        if members.is_empty() {
            let formats = formats::format_list();
            return Err(DictionaryError::EmptySet {
                path: folder.to_path_buf(),
                formats,
            });
        }
        Ok(Self {
            path: folder.to_path_buf(),
            members,
        })
    }

    /// The sites that have a dictionary, and the dictionaries, in the order of sites.
    pub fn members(&self) -> impl Iterator<Item = (Site, &Member)> {
        self.members.iter().map(|(site, member)| (*site, member))
    }

    /// The dictionary for a site.
    ///
    /// # Errors
    /// [`DictionaryError::NotInSet`], with the sites there are.
    pub fn member(&self, site: Site) -> Result<&Member> {
        self.members.get(&site).ok_or_else(|| DictionaryError::NotInSet {
            path: self.path.clone(),
            site,
            present: self
                .members
                .keys()
                .map(Site::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Checks that every dictionary fits a model. See [`DictionaryDescription::check_model`].
    ///
    /// # Errors
    /// As [`DictionaryDescription::check_model`].
    pub fn check_model(&self, model: &ModelConfig, hash: Option<&str>) -> Result<()> {
        self.members
            .values()
            .try_for_each(|member| member.description.check_model(model, hash))
    }

    /// The dictionary for a site, loaded through a cache.
    ///
    /// # Errors
    /// [`DictionaryError::NotInSet`], and as [`DictionaryCache::get`].
    pub fn load<B: Backend>(&self, site: Site, cache: &DictionaryCache<B>) -> Result<Arc<Dictionary<B>>> {
        cache.get(&self.member(site)?.path)
    }
}
