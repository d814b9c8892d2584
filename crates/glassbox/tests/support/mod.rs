//! The program, tiny models and dictionaries to run it on, and what every refusal must look like.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod experiment;
pub mod tensors;
pub mod trial_logs;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// The program, with no cache of models in sight.
pub fn glassbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glassbox"));
    command
        .env("HF_HUB_CACHE", "/nowhere/hub")
        .timeout(std::time::Duration::from_secs(300));
    command
}

/// Runs the program, which must succeed, and returns what it printed.
pub fn prints<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> String {
    let output = glassbox().args(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// As [`prints`], as JSON.
pub fn prints_json<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> serde_json::Value {
    serde_json::from_str(&prints(arguments)).unwrap()
}

/// Runs the program, which must refuse: with this exit code, nothing on stdout, and one message that holds every one of
/// `words`. Returns the message.
pub fn refuses<S: AsRef<std::ffi::OsStr>>(arguments: &[S], code: i32, words: &[&str]) -> String {
    let output = glassbox().args(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{stderr}");
    is_one_message(&stderr, words);
    stderr
}

/// Runs the program where no file may become larger than so many KiB: the system refuses the rest as it does on a
/// full disk.
#[cfg(unix)]
pub fn with_file_limit(kibibytes: u32, arguments: &[&str]) -> std::process::Output {
    // A process that does not ignore the signal would be killed by it. Shells count in blocks of 512 or 1024 bytes.
    let script = format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" \"$@\"");
    std::process::Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_glassbox")])
        .args(arguments)
        .output()
        .unwrap()
}

/// That a message is one, names what it must, and is no panic.
pub fn is_one_message(stderr: &str, words: &[&str]) {
    assert_eq!(
        stderr.lines().filter(|line| line.starts_with("error:")).count(),
        1,
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
}

/// A model fixture's folder.
pub fn model_fixture(name: &str) -> PathBuf {
    crates().join("glassbox-model/tests/fixtures/models").join(name)
}

/// A dictionary fixture's folder, `saelens/topk` for example.
pub fn dictionary_fixture(name: &str) -> PathBuf {
    crates().join("glassbox-dictionary/tests/fixtures").join(name)
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Changes a JSON file.
pub fn change_json(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Replaces a piece of a text file, which must be there.
pub fn change_text(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Names of everything in a folder, hidden files included.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A `tokenizer.json` whose tokens are words `w0` to `w{size - 1}` apart from `<s>`, id 1, and `</s>`, id 2.
pub fn word_tokenizer(size: usize) -> String {
    let name = |id: usize| match id {
        1 => "<s>".to_owned(),
        2 => "</s>".to_owned(),
        id => format!("w{id}"),
    };
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..size).map(|id| (name(id), id.into())).collect();
    let special = |id: usize| {
        serde_json::json!({
            "id": id, "content": name(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    };
    serde_json::json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(1), special(2)],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "w0" }
    })
    .to_string()
}
