//! The valid names that a misspelt one may mean.

/// How many names an error lists.
const LISTED: usize = 4;

/// The names with the fewest single-character changes from `name`, nearest first.
pub(crate) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = names
        .map(|candidate| (edit_distance(name, &candidate), candidate))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.truncate(LISTED);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein distance: the fewest insertions, deletions and substitutions of a character.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_by_definition() {
        for (a, b, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(edit_distance(a, b), distance);
            assert_eq!(edit_distance(b, a), distance);
        }
    }
}
