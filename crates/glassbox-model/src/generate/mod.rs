//! Generation: tokens chosen one after the other, for many rows at once.

mod prefill;
mod request;
mod run;
mod shared_prefix;
mod stop;

pub use request::{ChosenToken, GenerateError, Generated, GenerationObserver, GenerationRequest, Prompts};
pub use shared_prefix::SharedPrefix;
pub use stop::{StopReason, StopRule, TokenText, TokenTextStream};
