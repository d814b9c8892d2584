//! Pages about trial logs, one per analysis: the audit, causal effects, and words.

mod audit_findings;
mod audit_page;
mod audit_parsers;
mod audit_trials;
mod body;
mod causal_conditions;
mod causal_doses;
mod causal_features;
mod causal_layers;
mod causal_method;
mod causal_page;
mod causal_summary;
mod feature_effect;
mod unit;
mod words_grids;
mod words_lists;
mod words_page;

pub use audit_page::render_audit;
pub use causal_page::render_causal;
pub use words_page::render_words;
