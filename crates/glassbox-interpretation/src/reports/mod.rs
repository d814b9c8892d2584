//! What is known of each feature: the findings of the census, and what the weights say.

mod consistency;
mod dictionary_report;
mod logit_weights;
mod nearest;
mod token_texts;

pub use consistency::{Consistency, FEWEST, LEAST_SCORE, MOST_Q, REACH, judge};
pub use dictionary_report::{
    CensusSummary, DictionaryReport, FeatureReport, IntervalContexts, ReportFacts, report_features,
};
pub use logit_weights::{LogitWeights, TokenWeight, logit_weights};
pub use nearest::{Near, nearest_features};
pub use token_texts::TokenTexts;
