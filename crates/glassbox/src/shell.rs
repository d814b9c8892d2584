//! Commands as a person types them.

use std::path::Path;

/// A path as one word of a shell command.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%~=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    quoted(&text)
}

/// Any text as one word of a shell command.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(word(Path::new("runs/first-1")), "runs/first-1");
        assert_eq!(word(Path::new("my run")), "'my run'");
        assert_eq!(word(Path::new("it's")), r"'it'\''s'");
    }
}
