//! The sites that a flag names: TransformerLens names and globs, separated by commas.

use glassbox_model::config::ModelConfig;
use glassbox_model::site::{Site, SiteError};

/// The sites of a model that a list selects, in the order of the pass, each once. A comma within braces belongs to the
/// glob: `blocks.{0,3}.hook_resid_post`. Two dots within braces are a range, both ends included: `blocks.{0..5}.hook_resid_post`.
///
/// # Errors
/// [`SiteError`] for the first entry that selects nothing, with the names nearest to it.
pub fn select(list: &str, config: &ModelConfig) -> Result<Vec<Site>, SiteError> {
    let mut wanted = Vec::new();
    for entry in entries(list) {
        if entry.contains(['*', '?', '{', '[']) {
            wanted.extend(Site::select(&with_ranges(entry), config)?);
        } else {
            wanted.push(Site::parse(entry, config)?);
        }
    }
    let mut sites = Site::all(config);
    sites.retain(|site| wanted.contains(site));
    Ok(sites)
}

/// The sites that a list selects of those that are there, in their order, each once.
///
/// # Errors
/// [`SiteError`] for the first entry that selects nothing, with the names nearest to it.
pub fn select_among(list: &str, present: &[Site]) -> Result<Vec<Site>, SiteError> {
    let mut wanted = Vec::new();
    for entry in entries(list) {
        wanted.extend(Site::select_among(&with_ranges(entry), present)?);
    }
    let mut sites = present.to_vec();
    sites.retain(|site| wanted.contains(site));
    Ok(sites)
}

/// The pattern with every `{first..last}` written out as a list.
fn with_ranges(pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((inside, behind)) = after.split_once('}') else {
            text.push('{');
            rest = after;
            continue;
        };
        let range = inside
            .split_once("..")
            .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
        let list = match range {
            Some((first, last)) if first <= last => {
                let numbers: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
                numbers.join(",")
            }
            _ => inside.to_owned(),
        };
        text.push_str(&format!("{{{list}}}"));
        rest = behind;
    }
    text.push_str(rest);
    text
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
    fn ranges_are_written_out() {
        assert_eq!(
            with_ranges("blocks.{0..3}.hook_{a,b}"),
            "blocks.{0,1,2,3}.hook_{a,b}"
        );
        assert_eq!(with_ranges("x.{3..1}.{a..b}.{"), "x.{3..1}.{a..b}.{");
    }

    #[test]
    fn commas_within_braces_belong_to_the_glob() {
        let list = "a, blocks.{0,3}.x,,b.*";
        assert_eq!(entries(list).collect::<Vec<_>>(), ["a", "blocks.{0,3}.x", "b.*"]);
    }
}
