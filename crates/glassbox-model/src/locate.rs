//! From the name of a model or of a data set to its folder: a path, or a hub id found in the local Hugging Face cache.
//!
//! Nothing is ever fetched: what is not on this machine is an error that says how to fetch it. That is what
//! `HF_HUB_OFFLINE=1` asks for, so the variable changes nothing here.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::load_error::listing;

/// What a hub id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl HubKind {
    /// How folders of this kind begin in the cache.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What `hf download` needs to be told.
    fn flag(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => " --repo-type dataset",
        }
    }
}

impl fmt::Display for HubKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// A model's name that leads to no folder.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LocateError {
    /// A path was named that is no folder.
    #[error("{path}: not a folder; name the folder that holds config.json, or a hub id such as `org/name`")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder was named that holds no model.
    #[error(
        "{path}: the folder holds no config.json; name the folder that does, or a hub id such as `org/name`"
    )]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// The name is neither a path that exists nor a hub id.
    #[error("`{name}` is neither a folder that exists nor a hub id (`org/name` or `org/name@revision`)")]
    BadName {
        /// The name.
        name: String,
    },
    /// The hub id is not in the cache.
    #[error(
        "{kind} `{id}` is not on this machine: there is no folder `{id}`, and no {folder} (the cache is chosen by \
         {chosen_by}); nothing is fetched from the network here: run `hf download {id}{}` first, or name a folder",
        kind.flag()
    )]
    NotInCache {
        /// What the id names.
        kind: HubKind,
        /// The hub id.
        id: String,
        /// The folder that would hold it.
        folder: PathBuf,
        /// The environment variable that chose the cache, or the default.
        chosen_by: &'static str,
    },
    /// The hub id is in the cache, but not this revision.
    #[error(
        "{folder}: revision `{revision}` of `{id}` is not in the cache; snapshots there: {}; run \
         `hf download {id}{} --revision {revision}`, or name one of them as `{id}@SNAPSHOT`",
        if snapshots.is_empty() { "none".to_owned() } else { listing(snapshots) },
        kind.flag()
    )]
    NoRevision {
        /// What the id names.
        kind: HubKind,
        /// The hub id.
        id: String,
        /// The revision asked for.
        revision: String,
        /// The model's folder in the cache.
        folder: PathBuf,
        /// The snapshots that are there.
        snapshots: Vec<String>,
    },
    /// A snapshot without `config.json`: the download was partial.
    #[error(
        "{snapshot}: the snapshot holds no config.json; the download is incomplete, run `hf download {id}` again"
    )]
    IncompleteSnapshot {
        /// The hub id.
        id: String,
        /// The snapshot's folder.
        snapshot: PathBuf,
    },
    /// No cache folder can be derived from the environment.
    #[error(
        "{kind} `{id}`: none of {variables} is set, so there is no cache to look in; set HF_HUB_CACHE or name a folder"
    )]
    NoCache {
        /// What the id names.
        kind: HubKind,
        /// The hub id.
        id: String,
        /// The variables that were read.
        variables: &'static str,
    },
}

/// The environment variables that choose the Hugging Face cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubEnvironment {
    /// `HF_HUB_CACHE`: the cache itself.
    pub hf_hub_cache: Option<PathBuf>,
    /// `HUGGINGFACE_HUB_CACHE`: its older name.
    pub huggingface_hub_cache: Option<PathBuf>,
    /// `HF_HOME`: the cache is its `hub`.
    pub hf_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: the cache is its `huggingface/hub`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `HOME`: the cache is its `.cache/huggingface/hub`.
    pub home: Option<PathBuf>,
}

impl HubEnvironment {
    /// Variables in the order in which they are asked.
    pub const VARIABLES: &str = "HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME";

    /// Reads the variables by `variable`; empty ones count as unset.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            hf_hub_cache: path("HF_HUB_CACHE"),
            huggingface_hub_cache: path("HUGGINGFACE_HUB_CACHE"),
            hf_home: path("HF_HOME"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            home: path("HOME").or_else(|| path("USERPROFILE")),
        }
    }

    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// The cache folder and the variable that chose it. The first variable that is set decides, as in the hub's
    /// own client.
    #[must_use]
    pub fn cache(&self) -> Option<(PathBuf, &'static str)> {
        let expand = |path: &Path| match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_path_buf(),
        };
        if let Some(cache) = &self.hf_hub_cache {
            Some((expand(cache), "HF_HUB_CACHE"))
        } else if let Some(cache) = &self.huggingface_hub_cache {
            Some((expand(cache), "HUGGINGFACE_HUB_CACHE"))
        } else if let Some(home) = &self.hf_home {
            Some((expand(home).join("hub"), "HF_HOME"))
        } else if let Some(cache) = &self.xdg_cache_home {
            Some((expand(cache).join("huggingface/hub"), "XDG_CACHE_HOME"))
        } else {
            let home = self.home.as_ref()?;
            Some((
                home.join(".cache/huggingface/hub"),
                "HOME; HF_HUB_CACHE and HF_HOME are not set",
            ))
        }
    }
}

/// The folder of the model that `name` names: the path of a folder, or a hub id `org/name`, with `@revision` if not
/// the main one, whose snapshot lies in the local cache. A folder wins over a hub id of the same name.
///
/// # Errors
/// [`LocateError`], with the places that were looked at.
pub fn locate(name: &str, environment: &HubEnvironment) -> Result<PathBuf, LocateError> {
    let path = Path::new(name);
    if path.is_dir() {
        return if path.join("config.json").is_file() {
            Ok(path.to_path_buf())
        } else {
            Err(LocateError::NoModel {
                path: path.to_path_buf(),
            })
        };
    }
    if path.exists() || path.is_absolute() || name.starts_with('.') || name.starts_with('~') {
        return Err(LocateError::NotAFolder {
            path: path.to_path_buf(),
        });
    }
    let (id, revision) = hub_id(name).ok_or_else(|| LocateError::BadName {
        name: name.to_owned(),
    })?;
    let snapshot = locate_in_cache(HubKind::Model, id, revision, environment)?;
    if !snapshot.join("config.json").is_file() {
        return Err(LocateError::IncompleteSnapshot {
            id: id.to_owned(),
            snapshot,
        });
    }
    Ok(snapshot)
}

/// Splits `org/name@revision`; `None` if it is no hub id.
fn hub_id(name: &str) -> Option<(&str, &str)> {
    let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
    let parts: Vec<&str> = id.split('/').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let well_formed = |part: &&str| !part.is_empty() && part.chars().all(allowed) && !part.starts_with('.');
    let revision_parts_plain = revision
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    (parts.len() <= 2 && parts.iter().all(well_formed) && revision_parts_plain).then_some((id, revision))
}

/// The snapshot of a hub id `org/name`, with `@revision` if not the main one, in the local cache. `None` if the name is no hub id.
///
/// # Errors
/// [`LocateError`], with the places that were looked at.
pub fn snapshot(
    kind: HubKind,
    name: &str,
    environment: &HubEnvironment,
) -> Option<Result<PathBuf, LocateError>> {
    let (id, revision) = hub_id(name)?;
    Some(locate_in_cache(kind, id, revision, environment))
}

/// The snapshot that a folder of the cache (`datasets--org--name`) holds for a revision: a branch, a tag or a commit.
#[must_use]
pub fn snapshot_of(folder: &Path, revision: &str) -> Option<PathBuf> {
    // A branch or tag is a file that holds the commit; a commit names its snapshot itself.
    let commit = match std::fs::read_to_string(folder.join("refs").join(revision)) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => revision.to_owned(),
    };
    let snapshot = folder.join("snapshots").join(&commit);
    let plain = !commit.is_empty() && !commit.contains(['/', '\\']) && commit != "..";
    (plain && snapshot.is_dir()).then_some(snapshot)
}

fn locate_in_cache(
    kind: HubKind,
    id: &str,
    revision: &str,
    environment: &HubEnvironment,
) -> Result<PathBuf, LocateError> {
    let (cache, chosen_by) = environment.cache().ok_or_else(|| LocateError::NoCache {
        kind,
        id: id.to_owned(),
        variables: HubEnvironment::VARIABLES,
    })?;
    let folder = cache.join(format!("{}--{}", kind.prefix(), id.replace('/', "--")));
    if !folder.is_dir() {
        return Err(LocateError::NotInCache {
            kind,
            id: id.to_owned(),
            folder,
            chosen_by,
        });
    }
    snapshot_of(&folder, revision).ok_or_else(|| LocateError::NoRevision {
        kind,
        id: id.to_owned(),
        revision: revision.to_owned(),
        snapshots: folder_names(&folder.join("snapshots")),
        folder,
    })
}

/// Names of a folder's entries in order; empty if the folder can't be listed.
fn folder_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A cache with one model, `org/tiny`, at `COMMIT`.
    fn cache() -> (tempfile::TempDir, HubEnvironment, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("hub/models--org--tiny");
        let snapshot = model.join("snapshots").join(COMMIT);
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), COMMIT).unwrap();
        std::fs::write(snapshot.join("config.json"), "{}").unwrap();
        let environment = HubEnvironment {
            hf_home: Some(root.path().to_path_buf()),
            ..HubEnvironment::default()
        };
        (root, environment, snapshot)
    }

    #[test]
    fn a_hub_id_leads_to_its_snapshot() {
        let (_root, environment, snapshot) = cache();
        assert_eq!(locate("org/tiny", &environment), Ok(snapshot.clone()));
        assert_eq!(locate(&format!("org/tiny@{COMMIT}"), &environment), Ok(snapshot));
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let (root, environment, snapshot) = cache();
        let message = |name: &str| locate(name, &environment).unwrap_err().to_string();
        let absent = message("org/absent");
        assert!(
            absent.contains("hub/models--org--absent") && absent.contains("HF_HOME"),
            "{absent}"
        );
        assert!(absent.contains("hf download org/absent"), "{absent}");
        let revision = message("org/tiny@v2");
        assert!(
            revision.contains(COMMIT) && revision.contains("--revision v2"),
            "{revision}"
        );
        std::fs::remove_file(snapshot.join("config.json")).unwrap();
        assert!(matches!(
            locate("org/tiny", &environment),
            Err(LocateError::IncompleteSnapshot { .. })
        ));
        assert!(matches!(
            locate("a/b/c", &environment),
            Err(LocateError::BadName { .. })
        ));
        assert!(matches!(
            locate("org/../x", &environment),
            Err(LocateError::BadName { .. })
        ));
        assert!(matches!(
            locate("org/tiny@../../x", &environment),
            Err(LocateError::BadName { .. })
        ));
        assert!(matches!(
            locate("./absent", &environment),
            Err(LocateError::NotAFolder { .. })
        ));
        let empty = root.path().to_string_lossy().into_owned();
        assert!(matches!(
            locate(&empty, &environment),
            Err(LocateError::NoModel { .. })
        ));
        let unset = locate("org/tiny", &HubEnvironment::default());
        assert!(matches!(unset, Err(LocateError::NoCache { .. })));
    }

    #[test]
    fn data_sets_have_folders_of_their_own() {
        let (root, environment, _) = cache();
        let find = |name: &str| snapshot(HubKind::Dataset, name, &environment);
        let message = find("org/tiny").unwrap().unwrap_err().to_string();
        assert!(
            message.contains("datasets--org--tiny")
                && message.contains("hf download org/tiny --repo-type dataset"),
            "{message}"
        );
        let folder = root.path().join("hub/datasets--org--tiny/snapshots").join(COMMIT);
        std::fs::create_dir_all(&folder).unwrap();
        let by_commit = find(&format!("org/tiny@{COMMIT}")).unwrap();
        assert_eq!(by_commit, Ok(folder));
        assert!(find("./org/tiny/x").is_none());
    }

    #[test]
    fn a_folder_wins_over_the_cache() {
        let (_root, environment, snapshot) = cache();
        assert_eq!(locate(&snapshot.to_string_lossy(), &environment), Ok(snapshot));
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let all = |name: &str| Some(OsString::from(format!("/{}", name.to_lowercase())));
        let cases: [(&[&str], &str); 5] = [
            (&[], "/hf_hub_cache"),
            (&["HF_HUB_CACHE"], "/huggingface_hub_cache"),
            (&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"], "/hf_home/hub"),
            (
                &["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"],
                "/xdg_cache_home/huggingface/hub",
            ),
            (
                &[
                    "HF_HUB_CACHE",
                    "HUGGINGFACE_HUB_CACHE",
                    "HF_HOME",
                    "XDG_CACHE_HOME",
                ],
                "/home/.cache/huggingface/hub",
            ),
        ];
        for (unset, expected) in cases {
            let environment = HubEnvironment::read(|name| all(name).filter(|_| !unset.contains(&name)));
            assert_eq!(environment.cache().unwrap().0, PathBuf::from(expected));
        }
        let tilde = HubEnvironment {
            hf_home: Some("~/models".into()),
            home: Some("/home/user".into()),
            ..HubEnvironment::default()
        };
        assert_eq!(tilde.cache().unwrap().0, PathBuf::from("/home/user/models/hub"));
    }
}
