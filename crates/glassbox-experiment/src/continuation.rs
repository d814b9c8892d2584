//! Tokens of a text as they follow another text.

use glassbox_model::tokenizer::{Beginning, Tokenizer};

use crate::error::ExperimentError;

/// The tokens of `continuation` as they follow `context`: the tokens of both together, without those of the context
/// alone. They are what the model would have to generate, which the continuation's tokens by itself need not be.
///
/// # Errors
/// [`ExperimentError::Continuation`] if the tokens of both together do not begin with those of the context, or nothing
/// follows; those of the tokenizer.
pub fn continuation_tokens(
    tokenizer: &Tokenizer,
    beginning: Beginning,
    context: &str,
    continuation: &str,
) -> Result<Vec<u32>, ExperimentError> {
    let refuse = |what: &str| {
        Err(ExperimentError::Continuation {
            context: end_of(context),
            continuation: continuation.to_owned(),
            what: what.to_owned(),
        })
    };
    if continuation.is_empty() {
        return refuse("it is empty; give at least one character");
    }
    let before = tokenizer.encode(context, beginning)?;
    let whole = tokenizer.encode(&format!("{context}{continuation}"), beginning)?;
    match whole.strip_prefix(before.as_slice()) {
        Some([]) => refuse("it adds no token"),
        Some(tokens) => Ok(tokens.to_vec()),
        None => refuse(
            "the tokenizer joins its beginning with the end of the text before it, so that it has no tokens of its own; move \
             the space (or the characters) between them from one to the other",
        ),
    }
}

/// The last characters of a context, for messages.
fn end_of(context: &str) -> String {
    const SHOWN: usize = 40;
    let count = context.chars().count();
    if count <= SHOWN {
        return context.to_owned();
    }
    let end: String = context.chars().skip(count - SHOWN).collect();
    format!("…{end}")
}
