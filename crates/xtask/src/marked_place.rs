//! Places of Markdown files that a program writes: between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Replaces what is in the marked place of a file.
///
/// # Errors
/// If the file can't be read or written, or has no such place.
pub fn fill(file: &Path, name: &str, text: &str) -> Result<()> {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- {name}: {which} -->"));
    let old = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let (Some(from), Some(to)) = (old.find(&begin), old.find(&end)) else {
        bail!(
            "{} has no place for the table; put the lines `{begin}` and `{end}` where it belongs",
            file.display()
        );
    };
    let new = format!(
        "{}{begin}\n\n{}\n\n{}",
        &old[..from],
        text.trim(),
        old.get(to..).unwrap_or_default()
    );
    std::fs::write(file, new).with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_place_alone_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("benchmarks.md");
        let old = "before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n";
        std::fs::write(&file, old).unwrap();
        fill(&file, "x", "| new |\n").unwrap();
        fill(&file, "x", "| new |\n").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            "before\n<!-- x: begin -->\n\n| new |\n\n<!-- x: end -->\nafter\n"
        );
    }

    #[test]
    fn a_file_without_the_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("benchmarks.md");
        std::fs::write(&file, "nothing").unwrap();
        let error = fill(&file, "x", "new").unwrap_err().to_string();
        assert!(error.contains("<!-- x: begin -->"), "{error}");
    }
}
