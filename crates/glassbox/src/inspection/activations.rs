//! A folder of activations.

use std::path::Path;

use glassbox_corpus::{ActivationManifest, ActivationStore, CorpusError, Split};
use serde_json::json;

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, count, facts, table};

/// Reads the manifest and compares every shard with its checksum.
pub(super) fn inspect(path: &Path) -> Result<Inspection, CliError> {
    let manifest = ActivationManifest::read(path)?;
    let damage = ActivationStore::open(path)
        .and_then(|store| store.verify(|_| {}))
        .err();
    let rest = json!({
        "complete": manifest.complete,
        "model": manifest.model,
        "tokenizer": manifest.tokenizer,
        "sites": manifest.sites,
        "dtype": manifest.dtype,
        "tokens": manifest.tokens(None),
        "held_out_tokens": manifest.tokens(Some(Split::HeldOut)),
        "shards": manifest.shards.len(),
        "bytes": stored(&manifest),
        "corpus": manifest.corpus,
        "rows": manifest.rows,
        "counts": manifest.counts,
    });
    Ok(Inspection {
        text: text(path, &manifest, damage.as_ref()),
        json: described("activations", path, damage.is_none(), rest),
        damage: damage.map(CliError::from),
    })
}

fn stored(manifest: &ActivationManifest) -> u64 {
    manifest.shards.iter().map(|shard| shard.bytes).sum()
}

fn text(path: &Path, manifest: &ActivationManifest, damage: Option<&CorpusError>) -> String {
    let rows = &manifest.rows;
    let heading = facts(&[
        ("activations", path.display().to_string()),
        ("model", manifest.model.clone()),
        ("corpus", manifest.corpus.paths.join(", ")),
        (
            "rows",
            format!(
                "up to {} tokens, {:?}, BOS {:?}, first position {:?}",
                rows.context, rows.packing, rows.bos, rows.first_position
            ),
        ),
        (
            "tokens",
            format!(
                "{}, of which {} are held out",
                count(manifest.tokens(None)),
                count(manifest.tokens(Some(Split::HeldOut)))
            ),
        ),
        (
            "files",
            format!(
                "{} shards, {} of {}",
                manifest.shards.len(),
                bytes(stored(manifest)),
                manifest.dtype
            ),
        ),
        (
            "usable",
            damage.map_or("yes".to_owned(), |damage| format!("no: {damage}")),
        ),
    ]);
    let sites: Vec<Vec<String>> = manifest
        .sites
        .iter()
        .map(|site| vec![site.site.to_string(), site.width.to_string()])
        .collect();
    format!("{heading}\n{}", table(&["site", "width"], &sites))
}
