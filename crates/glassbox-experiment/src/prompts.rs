//! The prompts of a scenario's families.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::error::ExperimentError;
use crate::scenario::{FamilySpec, Scenario};
use crate::session::Session;

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Unique among the prompts of its file.
    pub id: String,
    /// Name of its family.
    pub family: String,
    /// What the model reads, without the beginning-of-sequence token.
    pub text: String,
}

/// The prompts of both families, for selection and for trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSets {
    /// Prompts that select features, family A first.
    pub select: Vec<Prompt>,
    /// Prompts that the trials use, family A first.
    pub sweep: Vec<Prompt>,
    /// Whether the two sets share no text.
    pub held_out: bool,
}

#[derive(Deserialize)]
struct PromptLine {
    id: String,
    text: String,
}

impl PromptSets {
    /// Reads the prompts that a scenario names, at most `max_prompts` of each file.
    ///
    /// # Errors
    /// [`ExperimentError::Prompts`] with file and line.
    pub fn read(scenario: &Scenario) -> Result<Self, ExperimentError> {
        let mut sets = Self {
            select: Vec::new(),
            sweep: Vec::new(),
            held_out: true,
        };
        for family in &scenario.families {
            sets.select.extend(read_family(
                scenario,
                family,
                family.select_prompts.as_deref(),
                scenario.select.max_prompts,
            )?);
            sets.sweep.extend(read_family(
                scenario,
                family,
                family.sweep_prompts.as_deref(),
                scenario.sweep.max_prompts,
            )?);
        }
        let selecting: HashSet<&str> = sets.select.iter().map(|prompt| prompt.text.as_str()).collect();
        sets.held_out = !sets
            .sweep
            .iter()
            .any(|prompt| selecting.contains(prompt.text.as_str()));
        Ok(sets)
    }
}

impl PromptSets {
    /// Checks that every prompt leaves room for at least one new token.
    ///
    /// # Errors
    /// [`ExperimentError::PromptTooLong`] naming the prompt, or those of the tokenizer.
    pub fn check_lengths(&self, session: &Session) -> Result<(), ExperimentError> {
        let context = session.model().config().max_positions;
        for prompt in self.select.iter().chain(&self.sweep) {
            let tokens = session.encode(&prompt.text)?.len();
            if tokens >= context {
                return Err(ExperimentError::PromptTooLong {
                    family: prompt.family.clone(),
                    id: prompt.id.clone(),
                    tokens,
                    context,
                });
            }
        }
        Ok(())
    }
}

fn read_family(
    scenario: &Scenario,
    family: &FamilySpec,
    file: Option<&str>,
    most: usize,
) -> Result<Vec<Prompt>, ExperimentError> {
    if let Some(text) = &family.prompt {
        return Ok(vec![Prompt {
            id: format!("{}-0", family.name),
            family: family.name.clone(),
            text: text.clone(),
        }]);
    }
    let path = scenario.path(file.unwrap_or_default());
    read_prompts(&path, &family.name, most)
}

/// Reads a JSON-lines file of prompts.
fn read_prompts(path: &Path, family: &str, most: usize) -> Result<Vec<Prompt>, ExperimentError> {
    let wrong = |line: usize, what: String| ExperimentError::Prompts {
        file: path.to_owned(),
        line,
        what,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(0, format!("cannot be read: {error}")))?;
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut ids = HashSet::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let parsed: PromptLine = serde_json::from_str(line).map_err(|error| {
            wrong(
                index + 1,
                format!("{error}; a line is {{\"id\": …, \"text\": …}}"),
            )
        })?;
        if !ids.insert(parsed.id.clone()) {
            return Err(wrong(index + 1, format!("the id '{}' occurs twice", parsed.id)));
        }
        if parsed.text.is_empty() {
            return Err(wrong(index + 1, "the text is empty".into()));
        }
        prompts.push(Prompt {
            id: parsed.id,
            family: family.to_owned(),
            text: parsed.text,
        });
        if prompts.len() == most {
            break;
        }
    }
    if prompts.is_empty() {
        return Err(wrong(0, "holds no prompt".into()));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_prompts_and_mistakes_name_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        std::fs::write(
            &path,
            "{\"id\":\"1\",\"text\":\"x\"}\n\n{\"id\":\"2\",\"text\":\"y\"}\n",
        )
        .unwrap();
        assert_eq!(read_prompts(&path, "a", 9).unwrap().len(), 2);
        assert_eq!(read_prompts(&path, "a", 1).unwrap().len(), 1);
        for (text, line, what) in [
            (
                "{\"id\":\"1\",\"text\":\"x\"}\n{\"id\":\"1\",\"text\":\"y\"}",
                ":2",
                "twice",
            ),
            ("{\"id\":\"1\"}", ":1", "text"),
            ("", "", "no prompt"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_prompts(&path, "a", 9).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(what), "{error}");
        }
    }
}
