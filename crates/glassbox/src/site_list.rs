//! The sites that a flag names: TransformerLens names and globs, separated by commas.

use glassbox_model::config::ModelConfig;
use glassbox_model::site::{Site, SiteError};

/// The sites of a model that a list selects, in the order of the pass, each once. A comma within braces belongs to the
/// glob: `blocks.{0,3}.hook_resid_post`.
///
/// # Errors
/// [`SiteError`] for the first entry that selects nothing, with the names nearest to it.
pub fn select(list: &str, config: &ModelConfig) -> Result<Vec<Site>, SiteError> {
    let mut wanted = Vec::new();
    for entry in entries(list) {
        if entry.contains(['*', '?', '{', '[']) {
            wanted.extend(Site::select(entry, config)?);
        } else {
            wanted.push(Site::parse(entry, config)?);
        }
    }
    let mut sites = Site::all(config);
    sites.retain(|site| wanted.contains(site));
    Ok(sites)
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    list.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_within_braces_belong_to_the_glob() {
        let list = "a, blocks.{0,3}.x,,b.*";
        assert_eq!(entries(list).collect::<Vec<_>>(), ["a", "blocks.{0,3}.x", "b.*"]);
    }
}
