//! The rows of all units together, from one folder of shards or from several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::shard::{read_shard, scan, shard_path};
use crate::{Row, ShardOrigin, ShardRecord, ShardState, ShardStore, StoreError, UnitId};

/// The rows of a plan from one folder of shards, or from several that shared the work: one item per unit, in the order of the plan.
/// Each file is checked once more when its turn comes.
///
/// # Errors
/// Before the first row: [`StoreError::Duplicate`] (a unit twice in the plan or in two folders), [`StoreError::MixedOrigin`],
/// [`StoreError::Damaged`], [`StoreError::NotInPlan`], [`StoreError::Gap`]. Items: [`StoreError::Damaged`] and those of
/// [`read_table`].
pub fn assemble<R: Row>(
    stores: &[&ShardStore<R>],
    plan: &[UnitId],
) -> Result<impl Iterator<Item = Result<Vec<R>, StoreError>> + use<R>, StoreError> {
    let mut places: BTreeMap<&UnitId, Option<(PathBuf, &ShardRecord)>> = BTreeMap::new();
    for unit in plan {
        if places.insert(unit, None).is_some() {
            let place = || "the plan".to_string();
            return Err(StoreError::Duplicate {
                unit: unit.to_string(),
                first: place(),
                second: place(),
            });
        }
    }
    for store in stores {
        let path = |unit| shard_path(store.folder(), unit);
        if let Some((key, expected, found)) = stores
            .first()
            .and_then(|first| first.origin().difference(store.origin()))
        {
            return Err(StoreError::MixedOrigin {
                path: store.folder().to_path_buf(),
                key,
                expected,
                found,
            });
        }
        let mut surplus = Vec::new();
        for (unit, state) in store.states() {
            match state {
                ShardState::Missing => continue,
                ShardState::Damaged { reason } => {
                    return Err(StoreError::Damaged {
                        path: path(unit),
                        reason: reason.clone(),
                    });
                }
                ShardState::Foreign { key, expected, found } => {
                    let (expected, found) = (expected.clone(), found.clone());
                    return Err(StoreError::MixedOrigin {
                        path: path(unit),
                        key,
                        expected,
                        found,
                    });
                }
                ShardState::Complete(record) => match places.get_mut(unit) {
                    None => surplus.push(unit.to_string()),
                    Some(Some((first, _))) => {
                        let (first, second) = (first.display().to_string(), path(unit).display().to_string());
                        return Err(StoreError::Duplicate {
                            unit: unit.to_string(),
                            first,
                            second,
                        });
                    }
                    Some(place) => *place = Some((path(unit), record)),
                },
            }
        }
        if !surplus.is_empty() {
            surplus.truncate(5);
            return Err(StoreError::NotInPlan {
                folder: store.folder().to_path_buf(),
                units: surplus,
            });
        }
    }
    let mut shards = Vec::with_capacity(plan.len());
    let mut missing = Vec::new();
    for unit in plan {
        match places.remove(unit).flatten() {
            Some((path, record)) => shards.push((path, record.clone())),
            None => missing.push(unit.to_string()),
        }
    }
    if !missing.is_empty() {
        let folder = stores
            .first()
            .map_or_else(PathBuf::new, |store| store.folder().to_path_buf());
        let first = missing.iter().take(5).cloned().collect();
        return Err(StoreError::Gap {
            folder,
            missing: missing.len(),
            planned: plan.len(),
            first,
        });
    }
    Ok(shards
        .into_iter()
        .map(|(path, record)| read_shard(&path, &record)))
}

/// All rows of the completed shards in a folder, in the order of the units' names. Unlike [`assemble`] it does not know the plan, so a
/// unit that was never done goes unnoticed: for looking at results, not for making them.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::MixedOrigin`], and those of [`read_table`].
pub fn read_table_dir<R: Row>(folder: &Path) -> Result<Vec<R>, StoreError> {
    let mut rows = Vec::new();
    let mut origin: Option<ShardOrigin> = None;
    for (unit, state) in scan::<R>(folder)? {
        let path = shard_path(folder, &unit);
        match state {
            ShardState::Complete(record) => {
                let first = origin.get_or_insert_with(|| record.origin.clone());
                if let Some((key, expected, found)) = first.difference(&record.origin) {
                    return Err(StoreError::MixedOrigin {
                        path,
                        key,
                        expected,
                        found,
                    });
                }
                rows.extend(read_shard::<R>(&path, &record)?);
            }
            ShardState::Damaged { reason } => return Err(StoreError::Damaged { path, reason }),
            ShardState::Foreign { key, expected, found } => {
                return Err(StoreError::MixedOrigin {
                    path,
                    key,
                    expected,
                    found,
                });
            }
            ShardState::Missing => {}
        }
    }
    Ok(rows)
}
