//! Tables that logs are read from and written to.

use glassbox_store::table;

table! {
    /// One trial of an imported log.
    pub struct LogTrialRow: "log_trials", version 1 {
        /// Block index of the feature that was set; missing in a baseline that belongs to no feature.
        pub layer: Option<u32>,
        /// Index of the feature in the block's dictionary.
        pub feature: Option<u32>,
        /// Kind of prompt; missing where the log does not say it.
        pub prompt_type: Option<String>,
        /// Arm: `baseline`, `reconstruct_only`, `value_a`, `value_b`, `control_a`, `control_b`, `dose`, or the log's own text.
        pub arm: String,
        /// The condition as the log writes it.
        pub condition: Option<String>,
        /// Dose, where the log has one.
        pub scale: Option<f64>,
        /// Identity of the prompt within its kind.
        pub prompt_id: Option<String>,
        /// Number of the trial within its cell.
        pub trial: Option<u64>,
        /// Number of the attempt.
        pub attempt: Option<u64>,
        /// For controls of glassbox's own runs: the feature whose levels the control copies, its block.
        pub matched_layer: Option<u32>,
        /// For controls: the feature whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// The response, as generated.
        pub text: String,
        /// Outcome: what the log states, or what the parser read if the import was asked to parse.
        pub outcome: Option<String>,
        /// Amount, in dollars.
        pub amount: Option<f64>,
        /// Whether the log or the parser calls the outcome valid.
        pub valid: Option<bool>,
        /// How the log says that its parser came to the outcome.
        pub method: Option<String>,
        /// Parser of the outcome as name@version, if the import was asked to parse.
        pub parser: Option<String>,
        /// First 16 digits of the hash of that parser's rules.
        pub parser_hash: Option<String>,
        /// Whether the same trial (feature, condition, scale, prompt, trial, attempt) came earlier in the log.
        pub is_repeat: bool,
        /// The file.
        pub source_file: String,
        /// Row in the file, from 1.
        pub source_row: u64,
        /// Offset of the row in the (decompressed) file, in bytes.
        pub source_offset: Option<u64>,
    }
}

table! {
    /// What is read of one trial of a glassbox run.
    pub(crate) struct RunTrialRow: "trials", version 2 {
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Block of the feature that is set.
        pub layer: Option<u32>,
        /// Feature that is set.
        pub feature: Option<u32>,
        /// For controls: the selected feature of the same layer whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Trial number.
        pub trial: u32,
        /// The response.
        pub text: String,
        /// What the parser read.
        pub outcome: String,
        /// Amount that the parser captured.
        pub amount: Option<f64>,
    }
}

table! {
    /// One feature of an imported list, table of means or checkpoint.
    pub struct LogFeatureRow: "log_features", version 1 {
        /// Block index.
        pub layer: u32,
        /// Index in the block's dictionary.
        pub feature: u32,
        /// Mean activation over safe prompts (value A), in the dictionary's units.
        pub mean_a: Option<f64>,
        /// Mean activation over risky prompts (value B).
        pub mean_b: Option<f64>,
        /// Standard deviation over safe prompts.
        pub sd_a: Option<f64>,
        /// Standard deviation over risky prompts.
        pub sd_b: Option<f64>,
        /// Safe prompts.
        pub n_a: Option<u64>,
        /// Risky prompts.
        pub n_b: Option<u64>,
        /// Cohen's d as stated.
        pub cohen_d: Option<f64>,
        /// p value as stated.
        pub p: Option<f64>,
        /// Class as stated.
        pub class: Option<String>,
        /// Whether the file calls it causal.
        pub causal: Option<bool>,
        /// The file.
        pub source_file: String,
        /// Row in the file, from 1.
        pub source_row: u64,
    }
}

table! {
    /// One cell of an imported file of counts.
    pub struct LogAggregateRow: "log_aggregates", version 1 {
        /// Block index of the feature that was set; missing in a baseline that belongs to no feature.
        pub layer: Option<u32>,
        /// Index of the feature in the block's dictionary.
        pub feature: Option<u32>,
        /// Kind of prompt.
        pub prompt_type: Option<String>,
        /// Arm, as in `log_trials`.
        pub arm: String,
        /// Trials.
        pub trials: Option<u64>,
        /// Trials that stopped.
        pub stop_count: Option<u64>,
        /// Their share, as stated.
        pub stop_rate: Option<f64>,
        /// Trials with a high-risk bet.
        pub high_risk_count: Option<u64>,
        /// Their share, as stated.
        pub high_risk_rate: Option<f64>,
        /// Trials that ended bankrupt.
        pub bankruptcy_count: Option<u64>,
        /// Their share, as stated.
        pub bankruptcy_rate: Option<f64>,
        /// Mean bet as stated, in dollars.
        pub mean_amount: Option<f64>,
        /// Amounts of the bets, in dollars.
        pub amounts: Vec<f64>,
        /// The file.
        pub source_file: String,
        /// Row in the file, from 1.
        pub source_row: u64,
    }
}

table! {
    /// One number that an imported file states for a feature.
    pub struct LogNumberRow: "log_numbers", version 1 {
        /// Block index.
        pub layer: u32,
        /// Index in the block's dictionary.
        pub feature: u32,
        /// The file's name for the number.
        pub measure: String,
        /// The number.
        pub value: Option<f64>,
        /// The file.
        pub source_file: String,
        /// Row in the file, from 1.
        pub source_row: u64,
    }
}

table! {
    /// One row, or one file, that an import could not use.
    pub struct LogProblemRow: "log_problems", version 1 {
        /// The file.
        pub file: String,
        /// Row in the file, from 1; 0 is the file as a whole.
        pub row: u64,
        /// Offset of the row in the (decompressed) file, in bytes.
        pub offset: Option<u64>,
        /// Kind of problem.
        pub kind: String,
        /// What is wrong, and what was expected.
        pub what: String,
    }
}
