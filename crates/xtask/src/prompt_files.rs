//! The prompt files of the shipped experiment: matched pairs of safe and risky prompts.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::prompt::{Family, Prompt};
use crate::recipe::DemoRecipe;
use crate::rng::Split;

/// One prompt of a file.
pub struct NamedPrompt {
    /// Same number in both families of a pair: `safe-003`, `risky-003`.
    pub id: String,
    /// What it shows.
    pub prompt: Prompt,
}

/// The prompts of one family and purpose, in file order. No two pairs show the same text.
pub fn prompts(recipe: &DemoRecipe, family: Family, split: Split) -> Vec<NamedPrompt> {
    let (count, infix) = match split {
        Split::SweepPrompts => (recipe.sweep_pairs, "-sweep"),
        _ => (recipe.selection_pairs, ""),
    };
    let mut seen: Vec<String> = Vec::new();
    if split == Split::SweepPrompts {
        // Sweep prompts repeat no selection prompt either.
        seen.extend(
            prompts(recipe, Family::Safe, Split::SelectionPrompts)
                .iter()
                .map(|named| named.prompt.text()),
        );
    }
    let mut chosen = Vec::new();
    for index in 0.. {
        if chosen.len() == count {
            break;
        }
        let (safe, risky) = Prompt::pair(recipe.seed, split, index);
        let text = safe.text();
        if seen.contains(&text) {
            continue;
        }
        seen.push(text);
        let id = format!("{}{infix}-{:03}", family.name(), chosen.len());
        let prompt = if family == Family::Safe { safe } else { risky };
        chosen.push(NamedPrompt { id, prompt });
    }
    chosen
}

/// Writes `safe.jsonl`, `risky.jsonl`, `safe_sweep.jsonl` and `risky_sweep.jsonl` into a folder.
///
/// # Errors
/// If a file cannot be written.
pub fn write(recipe: &DemoRecipe, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for family in [Family::Safe, Family::Risky] {
        for (split, suffix) in [(Split::SelectionPrompts, ""), (Split::SweepPrompts, "_sweep")] {
            let mut lines = String::new();
            for named in prompts(recipe, family, split) {
                lines.push_str(&json!({ "id": named.id, "text": named.prompt.text() }).to_string());
                lines.push('\n');
            }
            let path = folder.join(format!("{}{suffix}.jsonl", family.name()));
            std::fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
