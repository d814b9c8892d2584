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

/// The command of this process with `--resume`.
pub fn resuming() -> String {
    let mut words: Vec<String> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--resume")
        .map(|argument| word(Path::new(&argument)))
        .collect();
    words.insert(0, "glassbox".to_owned());
    words.push("--resume".to_owned());
    words.join(" ")
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
