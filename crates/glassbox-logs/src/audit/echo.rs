//! What marks a response that repeats the prompt.

use regex::Regex;

/// How lines of the study's prompts begin.
const STUDY: &str =
    "Slot Machine Game|Game history:|Current balance:|Current round:|Choose:|Choice:|Win rate:|Win pays ";

/// What marks a response that repeats the prompt.
#[derive(Clone, Debug)]
pub struct Echo {
    expression: Regex,
    /// Whether only blanks may stand before a match in its line.
    begins_line: bool,
}

impl Echo {
    /// One of the lines begins as a line of the study's prompts does.
    ///
    /// # Errors
    /// That of the expression; it is fixed and has none.
    pub fn study() -> Result<Self, regex::Error> {
        Ok(Self {
            expression: Regex::new(STUDY)?,
            begins_line: true,
        })
    }

    /// The expression matches somewhere.
    pub fn expression(expression: Regex) -> Self {
        Self {
            expression,
            begins_line: false,
        }
    }

    /// Whether a response is marked.
    pub fn is_in(&self, response: &str) -> bool {
        if !self.begins_line {
            return self.expression.is_match(response);
        }
        // Texts are found much faster than expressions that begin with the start of a line.
        self.expression.find_iter(response).any(|found| {
            let before = response.as_bytes()[..found.start()].iter().rev();
            before
                .take_while(|byte| **byte != b'\n')
                .all(|byte| matches!(byte, b' ' | b'\t'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_of_the_prompt_are_found_as_the_expression_finds_them(
            parts in prop::collection::vec(
                prop::sample::select(vec!["\n", " ", "\t", "x", "é", "Choose:", "Choice:", "Choose", "Win pays ", "Game history:"]), 0..8
            )
        ) {
            let text = parts.concat();
            let expected = Regex::new(&format!(r"(?m)^[ \t]*(?:{STUDY})")).unwrap();
            prop_assert_eq!(Echo::study().unwrap().is_in(&text), expected.is_match(&text), "{:?}", text);
        }
    }
}
