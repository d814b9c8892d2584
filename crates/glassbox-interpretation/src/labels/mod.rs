//! Labels by a language model, only where an endpoint is given.

mod endpoint;
mod label_features;
mod prompts;

pub use endpoint::{Endpoint, EndpointError, HttpEndpoint, Message};
pub use label_features::{
    Exchange, FeatureLabel, LabelError, LabelScore, LabelSettings, label_features, read_labels,
};
pub use prompts::PROMPT_VERSION;
