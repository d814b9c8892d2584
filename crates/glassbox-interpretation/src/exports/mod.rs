//! Files that the findings go into.

mod census_folder;
mod json_lines;
mod neuronpedia;
mod page;
mod tables;

pub use census_folder::{CENSUS_FILE, CensusOrigin, LabelSummary, census_files, write_census};
pub use json_lines::{feature_json, write_json_lines};
pub use neuronpedia::{NeuronpediaNames, write_neuronpedia};
pub use page::write_page;
pub use tables::{ContextRow, FeatureRow, LogitWeightRow, NeighbourRow, write_tables};
