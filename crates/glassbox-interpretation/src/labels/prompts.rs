//! What is asked of a language model. Every change of a text here raises [`PROMPT_VERSION`], so that labels of other prompts are
//! never taken for these.

use crate::census::Context;
use crate::labels::endpoint::Message;
use crate::reports::TokenTexts;

/// Version of the prompts.
pub const PROMPT_VERSION: u32 = 1;

/// Activation, as a share of the largest of the context, from which a token is marked.
const MARKED_FROM: f32 = 0.3;

const EXPLAIN: &str = "You explain what a feature of a language model reacts to. You are given short texts in which the feature is \
active. The tokens on which it is active are between << and >>, neighbouring ones together. Find what the marked tokens, or what \
comes before them, have in common. Be as specific as the texts allow, and do not list examples. Answer with one line that begins \
with [EXPLANATION]: followed by a phrase of at most 20 words.";

const DETECT: &str = "You judge whether a feature of a language model is active in texts, given an explanation of what it reacts to. For \
each of the numbered texts answer 1 if the feature, as it is explained, would be active somewhere in it, else 0. Answer with a list of \
the digits alone, one for each text in order, for example [1, 0, 0, 1, 0].";

const FUZZ: &str = "You judge whether marked tokens are those that a feature of a language model reacts to, given an explanation of it. \
In each of the numbered texts some tokens are between << and >>. For each text answer 1 if the marked tokens fit the explanation, else \
0. Answer with a list of the digits alone, one for each text in order, for example [1, 0, 0, 1, 0].";

/// The text of a context on one line.
pub fn plain(context: &Context, texts: &TokenTexts) -> String {
    one_line(&texts.texts(&context.tokens).concat())
}

/// The text of a context with some of its tokens between << and >>, neighbouring ones together.
pub fn marked(context: &Context, texts: &TokenTexts, is_marked: impl Fn(usize) -> bool) -> String {
    let mut text = String::new();
    let mut open = false;
    for (i, token) in context.tokens.iter().enumerate() {
        if is_marked(i) != open {
            text.push_str(if open { ">>" } else { "<<" });
            open = !open;
        }
        text.push_str(texts.text(*token));
    }
    if open {
        text.push_str(">>");
    }
    one_line(&text)
}

/// The tokens of a context that are marked as active.
pub fn active_tokens(context: &Context) -> Vec<bool> {
    let largest = context.activations.iter().copied().fold(0.0, f32::max);
    context
        .activations
        .iter()
        .map(|value| *value > 0.0 && *value >= MARKED_FROM * largest)
        .collect()
}

fn one_line(text: &str) -> String {
    text.replace('\n', "⏎")
}

/// Asks for an explanation.
pub fn explanation(contexts: &[&Context], texts: &TokenTexts) -> Vec<Message> {
    let examples: String = contexts
        .iter()
        .enumerate()
        .map(|(i, context)| {
            let active = active_tokens(context);
            format!("Text {}: {}\n", i + 1, marked(context, texts, |i| active[i]))
        })
        .collect();
    vec![Message::new("system", EXPLAIN), Message::new("user", examples)]
}

/// The explanation in an answer: what follows the keyword, or else its last line that is not empty.
pub fn parse_explanation(answer: &str) -> Option<String> {
    let text = match answer.rfind("[EXPLANATION]:") {
        Some(at) => answer[at + "[EXPLANATION]:".len()..]
            .lines()
            .find(|line| !line.trim().is_empty()),
        None => answer.lines().rev().find(|line| !line.trim().is_empty()),
    };
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// Asks which of some texts a feature is active in.
pub fn detection(explanation: &str, examples: &[String]) -> Vec<Message> {
    judgement(DETECT, explanation, examples)
}

/// Asks in which of some texts the marked tokens are right.
pub fn fuzzing(explanation: &str, examples: &[String]) -> Vec<Message> {
    judgement(FUZZ, explanation, examples)
}

fn judgement(instruction: &str, explanation: &str, examples: &[String]) -> Vec<Message> {
    let texts: String = examples
        .iter()
        .enumerate()
        .map(|(i, text)| format!("Text {}: {text}\n", i + 1))
        .collect();
    vec![
        Message::new("system", instruction),
        Message::new("user", format!("Explanation: {explanation}\n\n{texts}")),
    ]
}

/// The judgements in an answer: its last list in brackets, if that has one digit per text.
pub fn parse_judgements(answer: &str, count: usize) -> Option<Vec<bool>> {
    let begin = answer.rfind('[')?;
    let end = begin + answer[begin..].find(']')?;
    let judged: Option<Vec<bool>> = answer[begin + 1..end]
        .split(',')
        .map(|digit| match digit.trim() {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        })
        .collect();
    judged.filter(|judged| judged.len() == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_refused() {
        assert_eq!(parse_judgements("[1, 0,1]", 3), Some(vec![true, false, true]));
        assert_eq!(
            parse_judgements("Text [2] fits: [0,1]", 2),
            Some(vec![false, true])
        );
        for answer in ["", "1 0 1", "[1, 0]", "[1, 0, 2]", "[1, 0, 1"] {
            assert_eq!(parse_judgements(answer, 3), None, "{answer}");
        }
        assert_eq!(
            parse_explanation("I think\n[EXPLANATION]: the word bet\n").as_deref(),
            Some("the word bet")
        );
        assert_eq!(parse_explanation("the word bet").as_deref(), Some("the word bet"));
        assert_eq!(parse_explanation(" \n"), None);
    }

    #[test]
    fn neighbouring_tokens_are_marked_together() {
        let texts = TokenTexts::from_texts(["a", " b", "\n", "c"].map(str::to_owned).to_vec());
        let context = Context {
            document: 0,
            token_number: 0,
            peak: 1,
            activation: 2.0,
            tokens: vec![0, 1, 2, 3, 1],
            activations: vec![0.0, 2.0, 1.0, 0.1, 2.0],
        };
        let active = active_tokens(&context);
        assert_eq!(active, [false, true, true, false, true]);
        assert_eq!(marked(&context, &texts, |i| active[i]), "a<< b⏎>>c<< b>>");
    }
}
