//! Rows of the table of words.

use glassbox_store::table;

table! {
    /// One word under one comparison of one feature, on one kind of prompt. A response counts once, however often it says the word.
    #[derive(serde::Serialize)]
    pub struct LogWordRow: "log_words", version 1 {
        /// Block index.
        pub layer: u32,
        /// Index of the feature in the block's dictionary.
        pub feature: u32,
        /// Kind of prompt.
        pub prompt: String,
        /// What is compared: second_vs_first.
        pub comparison: String,
        /// The slot-machine study's name for it, where it has one.
        pub study_name: Option<String>,
        /// The word.
        pub word: String,
        /// `added` (more frequent in the second) or `removed`.
        pub change: String,
        /// Responses of the first.
        pub n_1: u64,
        /// Responses of the second.
        pub n_2: u64,
        /// Responses of the first that have the word (by the study's method: how often it was said).
        pub responses_1: u64,
        /// Responses of the second that have the word (by the study's method: how often it was said).
        pub responses_2: u64,
        /// Log odds ratio, second over first, with the prior (by the study's method: its log ratio of frequencies).
        pub log_odds: f64,
        /// Lower limit of its 95 % interval; missing by the study's method, which has none.
        pub ci_low: Option<f64>,
        /// Upper limit of its 95 % interval.
        pub ci_high: Option<f64>,
        /// Log odds ratio over its standard error.
        pub z: Option<f64>,
        /// Two-sided p value: Fisher's exact test where the score test is below 0.2, else the score test's (by the study's
        /// method: χ² with Yates's correction over all words said).
        pub p: f64,
        /// Benjamini–Hochberg q value over all features, prompts and words of the comparison; missing by the study's method.
        pub q: Option<f64>,
    }
}
