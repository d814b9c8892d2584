//! Words: which ones a feature adds to responses or removes from them.

mod raw_words;
mod word_cells;
mod word_comparison;
mod word_grid;
mod word_groups;
mod word_presence;
mod word_reader;
mod word_row;
mod word_settings;
mod word_study;
mod word_tests;
mod word_views;
mod words_analysis;

pub use word_cells::{WordCell, WordCells, WordCount};
pub use word_comparison::WordComparison;
pub use word_grid::{WordGrid, WordGridCell};
pub use word_presence::PresenceRow;
pub use word_reader::{HANGUL_PATTERN, STUDY_PATTERN, Tokens, WordForm, WordPattern, WordReader};
pub use word_row::LogWordRow;
pub use word_settings::{WordMethod, WordSettings};
pub use word_views::{WordShare, WordView};
pub use words_analysis::{ComparisonCount, WordsAnalysis, analyse_words};
