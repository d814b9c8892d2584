//! The rows of every table of a run, in the order in which the stages write them.
//!
//! A feature is a pair (layer, feature): block index and index in that block's dictionary. "A" and "B" are the two
//! prompt families in the order of the scenario file. Where two things are compared, `_1` is the reference and `_2` is
//! what is compared with it: effects are always *second minus first*.

use glassbox_store::table;

table! {
    /// One prompt of the run.
    pub struct PromptRow: "prompts", version 1 {
        /// `select` (chooses features and gives their values) or `sweep` (trials).
        pub stage: String,
        /// Prompt family.
        pub family: String,
        /// Identity of the prompt within its family and stage.
        pub prompt_id: String,
        /// The text, without the beginning-of-sequence token.
        pub text: String,
    }
}

table! {
    /// One feature of one layer, compared between the two prompt families at the last prompt position. One
    /// Benjamini–Hochberg family covers every row that has a p value.
    pub struct SelectionRow: "selection", version 1 {
        /// Block index.
        pub layer: u32,
        /// Feature index in the block's dictionary.
        pub feature: u32,
        /// Mean activation over family A's prompts, in the dictionary's units. This is value A.
        pub mean_a: f64,
        /// Mean activation over family B's prompts. This is value B.
        pub mean_b: f64,
        /// Standard deviation (ddof 1) over family A's prompts.
        pub sd_a: f64,
        /// Standard deviation (ddof 1) over family B's prompts.
        pub sd_b: f64,
        /// Prompts of family A.
        pub n_a: u32,
        /// Prompts of family B.
        pub n_b: u32,
        /// Share of family A's prompts on which the feature is active.
        pub active_share_a: f64,
        /// Share of family B's prompts on which the feature is active.
        pub active_share_b: f64,
        /// Welch's t, B minus A; missing where neither family varies.
        pub welch_t: Option<f64>,
        /// Welch–Satterthwaite degrees of freedom.
        pub degrees_of_freedom: Option<f64>,
        /// Two-sided p value; missing where there is no test: fewer than two prompts in a family, or no variation.
        pub p: Option<f64>,
        /// Benjamini–Hochberg q value over all layers and features tested.
        pub q: Option<f64>,
        /// Cohen's d, B minus A over the pooled standard deviation (ddof 1); missing where neither family varies.
        pub cohen_d: Option<f64>,
        /// Rank in the layer, from 1: by the scenario's `select.rank_by` among features with q below alpha; with a single prompt per family by |B − A|.
        pub rank_in_layer: Option<u32>,
        /// Whether the sweep tests it.
        pub selected: bool,
    }
}

table! {
    /// One planned trial. The plan is written before the first trial and never changes.
    pub struct PlanRow: "plan", version 1 {
        /// Unit of work: one batch, one shard file.
        pub unit: u32,
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Block of the feature that is set, or of the dictionary that reconstructs; missing in the baseline.
        pub layer: Option<u32>,
        /// Feature that is set; missing in baseline and reconstruct-only.
        pub feature: Option<u32>,
        /// For controls: the selected feature of the same layer whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Value that the feature is set to, in the dictionary's units.
        pub value: Option<f64>,
        /// Trial number; equal numbers share their random numbers in all arms.
        pub trial: u32,
    }
}

table! {
    /// One trial: one generation under one arm.
    #[derive(Default)]
    pub struct TrialRow: "trials", version 2 {
        /// First 16 digits of the plan's hash: trials of different plans never mix.
        pub run: String,
        /// Unit of work.
        pub unit: u32,
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Block of the feature that is set, or of the dictionary that reconstructs; missing in the baseline.
        pub layer: Option<u32>,
        /// Feature that is set; missing in baseline and reconstruct-only.
        pub feature: Option<u32>,
        /// For controls: the selected feature of the same layer whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Value that the feature was set to, in the dictionary's units.
        pub value: Option<f64>,
        /// Trial number; equal numbers share their random numbers in all arms.
        pub trial: u32,
        /// The response, as generated.
        pub text: String,
        /// Its token ids, the end-of-sequence token included if one came.
        pub token_ids: Vec<u32>,
        /// Why generation ended.
        pub stop_reason: String,
        /// What the parser read; `unknown` where no rule matched.
        pub outcome: String,
        /// Amount that the parser captured, in the scenario's unit.
        pub amount: Option<f64>,
        /// Parser, as name@version.
        pub parser: String,
        /// First 16 digits of the hash of the parser's rules.
        pub parser_hash: String,
        /// Largest logits of every generated token, token ids, k per token; empty if not asked for.
        pub top_logit_ids: Vec<u32>,
        /// Largest logits of every generated token, values before temperature, k per token.
        pub top_logit_values: Vec<f32>,
        /// Blocks of the recorded features that were active at least once; this and the following lists run in parallel,
        /// sorted by block and feature. Empty if none are recorded.
        pub recorded_layers: Vec<u32>,
        /// Their indices.
        pub recorded_features: Vec<u32>,
        /// Mean activation over the generated tokens that were fed back (all but the last).
        pub recorded_means: Vec<f32>,
        /// Largest activation over these tokens.
        pub recorded_maxima: Vec<f32>,
        /// Activation at the last prompt position, after the intervention.
        pub recorded_at_prompt_end: Vec<f32>,
    }
}

table! {
    /// One test of one contrast of one feature.
    pub struct CausalRow: "causal", version 1 {
        /// Block index.
        pub layer: u32,
        /// Feature index; missing for the reconstruct-only arm of a layer.
        pub feature: Option<u32>,
        /// `selected`, `control` or `reconstruction`.
        pub role: String,
        /// For controls: the selected feature whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Prompt family, or `both`.
        pub family: String,
        /// What is compared, as second_vs_first: `value_b_vs_value_a`, `value_a_vs_baseline`, …
        pub contrast: String,
        /// `target_rate` (share of trials with the target outcome; unknown outcomes count as not the target) or `amount`
        /// (mean captured amount, over pairs in which both trials have one).
        pub measure: String,
        /// Trials behind the first figure.
        pub n_1: u32,
        /// Trials behind the second figure.
        pub n_2: u32,
        /// Rate or mean under the first arm; missing without trials.
        pub figure_1: Option<f64>,
        /// Rate or mean under the second arm.
        pub figure_2: Option<f64>,
        /// Second minus first.
        pub effect: Option<f64>,
        /// Lower end of the 95 % interval of the effect.
        pub ci_low: Option<f64>,
        /// Upper end of the 95 % interval of the effect.
        pub ci_high: Option<f64>,
        /// Cohen's d (pooled, ddof 1) of the two groups of amounts, for amounts.
        pub cohen_d: Option<f64>,
        /// Odds ratio (0.5 added to each cell where one is zero), for rates.
        pub odds_ratio: Option<f64>,
        /// Pairs in which only the second trial ended in the target, for rates.
        pub pairs_gained: Option<u32>,
        /// Pairs in which only the first trial ended in the target, for rates.
        pub pairs_lost: Option<u32>,
        /// The test: `mcnemar_exact` or `paired_t`.
        pub test: String,
        /// Two-sided p value; missing where the test is undefined.
        pub p: Option<f64>,
        /// p value of Fisher's exact test on the same counts, ignoring the pairing; for rates.
        pub p_fisher: Option<f64>,
        /// Benjamini–Hochberg q value over all tests of selected features; missing for controls and reconstruction.
        pub q: Option<f64>,
        /// Share of the first trials whose outcome the parser could not read, for rates.
        pub unknown_1: Option<f64>,
        /// Share of the second trials whose outcome the parser could not read, for rates.
        pub unknown_2: Option<f64>,
        /// Effect among pairs in which both outcomes could be read, for rates.
        pub effect_known: Option<f64>,
        /// Exact McNemar p value among those pairs.
        pub p_known: Option<f64>,
    }
}

table! {
    /// What the sweep says about one selected feature.
    #[derive(serde::Serialize)]
    pub struct VerdictRow: "verdicts", version 1 {
        /// Block index.
        pub layer: u32,
        /// Feature index.
        pub feature: u32,
        /// Value A, in the dictionary's units.
        pub value_a: f64,
        /// Value B, in the dictionary's units.
        pub value_b: f64,
        /// Target rate under value B minus under value A, both families.
        pub effect: f64,
        /// Lower end of its 95 % interval.
        pub ci_low: f64,
        /// Upper end of its 95 % interval.
        pub ci_high: f64,
        /// Exact McNemar p value of that contrast.
        pub p: f64,
        /// Its q value in the family of all tests.
        pub q: f64,
        /// Percentile of |effect| among the random-feature controls' |effect| (mid-rank), 0 to 100.
        pub control_percentile: Option<f64>,
        /// (1 + controls with an |effect| at least as large) / (1 + controls).
        pub p_by_controls: Option<f64>,
        /// Target rate under value A minus the reference: baseline, or reconstruct-only where interventions replace the residual.
        pub shift_a: f64,
        /// Target rate under value B minus the reference.
        pub shift_b: f64,
        /// Mean of the two shifts: what setting the feature does whatever the value.
        pub shared_shift: f64,
        /// p value of a sign-flip permutation test over (prompt, trial) of (A + B)/2 minus the reference (exact up to 16 non-zero
        /// differences, else 9,999 draws); not adjusted over features.
        pub shared_shift_p: Option<f64>,
        /// Benjamini–Hochberg q value of the shared shift over the selected features.
        pub shared_shift_q: f64,
        /// Share of trials under values A and B whose outcome the parser could not read.
        pub unknown_share: f64,
        /// Effect among pairs in which both outcomes could be read; missing without such pairs.
        pub effect_known: Option<f64>,
        /// Exact McNemar p value among those pairs.
        pub p_known: Option<f64>,
        /// Smallest |effect| that this many pairs would have found with power 0.8 at alpha 0.05, at the discordance seen.
        pub detectable_effect: Option<f64>,
        /// `raises_target`, `lowers_target` or `undecided`: the direction from value A to value B.
        pub direction: String,
        /// `specific_effect`, `shared_shift_only`, `no_effect` or `cannot_tell`.
        pub verdict: String,
        /// The verdict in words.
        pub words: String,
    }
}

table! {
    /// One control of the whole analysis: what was checked, the figure found, the limit, and whether it held.
    #[derive(serde::Serialize)]
    pub struct CheckRow: "controls", version 1 {
        /// Stage that it belongs to.
        pub stage: String,
        /// Name of the check.
        pub check: String,
        /// The figure found; missing if it could not be computed.
        pub figure: Option<f64>,
        /// The limit it is held against; missing for facts without a limit.
        pub limit: Option<f64>,
        /// `passed`, `failed` or `fact`.
        pub result: String,
        /// What it means, in words.
        pub words: String,
    }
}

table! {
    /// Mean activation of one feature over the generated tokens of one replay. Features that are never active in
    /// the replay have no row.
    pub struct ReplayFeatureRow: "replay_features", version 1 {
        /// First 16 digits of the plan's hash.
        pub run: String,
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Block of the source feature that is set; missing in the baseline.
        pub source_layer: Option<u32>,
        /// Source feature that is set; missing in the baseline.
        pub source_feature: Option<u32>,
        /// Trial number.
        pub trial: u32,
        /// Block of the recorded feature.
        pub layer: u32,
        /// Recorded feature.
        pub feature: u32,
        /// Generated tokens that were fed back: all but the last.
        pub tokens: u32,
        /// Tokens on which the feature was active.
        pub active_tokens: u32,
        /// Mean activation over those tokens, in the dictionary's units.
        pub mean_activation: f32,
        /// Largest activation.
        pub max_activation: f32,
        /// Activation at the last prompt position, before any token was sampled: equal tokens in all arms.
        pub activation_at_prompt_end: f32,
    }
}

table! {
    /// Activation of one feature at one generated token of one replay (sparse: zeros have no row).
    pub struct TokenFeatureRow: "features", version 1 {
        /// First 16 digits of the plan's hash.
        pub run: String,
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Trial number.
        pub trial: u32,
        /// The feature that is set, as L{layer}-{feature}; `none` in the baseline.
        pub intervention: String,
        /// Position, counted from the first generated token; −1 is the last prompt position.
        pub position: i64,
        /// Block index.
        pub layer: u32,
        /// Feature index.
        pub feature: u32,
        /// Activation, in the dictionary's units.
        pub activation: f32,
    }
}

table! {
    /// The effect of setting a source feature on one downstream feature, over paired replays. A replay generates anew: its effect
    /// mixes the direct influence on the downstream feature with the influence of changed tokens;
    /// `effect_at_prompt_end` is the part seen before any token could change.
    pub struct PathwayRow: "pathways", version 1 {
        /// Block of the source.
        pub source_layer: u32,
        /// Source feature.
        pub source_feature: u32,
        /// `causal`, `second_wave` or `control`.
        pub source_role: String,
        /// Block of the target.
        pub target_layer: u32,
        /// Target feature.
        pub target_feature: u32,
        /// What is compared, as second_vs_first.
        pub contrast: String,
        /// Pairs of replays (same prompt, same trial).
        pub pairs: u32,
        /// Prompts behind them.
        pub prompts: u32,
        /// Share of pairs in which the target was active under either arm.
        pub active_share: f64,
        /// Mean activation per generated token under the first arm; with `positions = "last_of_prompt"` the one at the prompt's end.
        pub mean_1: f64,
        /// The same under the second arm.
        pub mean_2: f64,
        /// Second minus first.
        pub effect: f64,
        /// Lower end of the 95 % interval: paired t over prompts (each prompt's mean difference is one observation; with fewer
        /// than six prompts each pair is one).
        pub ci_low: f64,
        /// Upper end of the 95 % interval.
        pub ci_high: f64,
        /// Effect over the standard deviation of the observations (d_z).
        pub cohen_dz: Option<f64>,
        /// Two-sided p value of that paired t test.
        pub p: f64,
        /// Benjamini–Hochberg q value over all edges of non-control sources and all contrasts; missing for control sources.
        pub q: Option<f64>,
        /// Mean difference at the last prompt position, second minus first.
        pub effect_at_prompt_end: f64,
        /// Percentile of |d_z| among the edges of random sources into the same layer, for value B against value A; missing for
        /// other contrasts and without random sources.
        pub control_percentile: Option<f64>,
    }
}

table! {
    /// A chain of two measured edges. The product of the edges' effects per unit of their sources is a prediction; the
    /// measured end-to-end effect stands beside it.
    pub struct ChainRow: "chains", version 1 {
        /// Block of the first feature.
        pub layer_1: u32,
        /// First feature.
        pub feature_1: u32,
        /// Block of the second feature.
        pub layer_2: u32,
        /// Second feature.
        pub feature_2: u32,
        /// Block of the third feature.
        pub layer_3: u32,
        /// Third feature.
        pub feature_3: u32,
        /// Measured effect of the first on the second, value B minus value A of the first.
        pub effect_12: f64,
        /// q value of that edge.
        pub q_12: f64,
        /// Measured effect of the second on the third, value B minus value A of the second.
        pub effect_23: f64,
        /// q value of that edge.
        pub q_23: f64,
        /// effect_12 · effect_23 / (value B − value A of the second): the effect on the third if only this chain acted, linearly.
        pub predicted_13: f64,
        /// Measured effect of the first on the third.
        pub measured_13: f64,
        /// Lower end of its 95 % interval.
        pub ci_low: f64,
        /// Upper end of its 95 % interval.
        pub ci_high: f64,
        /// q value of the edge from the first to the third.
        pub q_13: f64,
    }
}

table! {
    /// One word or amount under one contrast of one feature, counted once per response.
    pub struct WordRow: "words", version 1 {
        /// Block index.
        pub layer: u32,
        /// Feature index.
        pub feature: u32,
        /// `selected` or `control`.
        pub role: String,
        /// What is compared, as second_vs_first.
        pub contrast: String,
        /// The word, lower-cased.
        pub word: String,
        /// Responses of the first arm.
        pub n_1: u32,
        /// Responses of the second arm.
        pub n_2: u32,
        /// Responses of the first arm that hold the word.
        pub responses_1: u32,
        /// Responses of the second arm that hold the word.
        pub responses_2: u32,
        /// Log odds ratio, second over first, 0.5 added to each cell (natural logarithm).
        pub log_odds: f64,
        /// Lower end of its 95 % interval (Wald).
        pub ci_low: f64,
        /// Upper end of its 95 % interval.
        pub ci_high: f64,
        /// Exact McNemar p value over pairs of responses.
        pub p: f64,
        /// Benjamini–Hochberg q value over all words of all selected features; missing for controls.
        pub q: Option<f64>,
        /// `added` where the second arm has it more often, else `removed`.
        pub change: String,
    }
}

table! {
    /// One cell of activation patching: a metric of the last position's logits in the corrupted run, after one activation of
    /// the clean run has been put in.
    pub struct PatchRow: "patches", version 1 {
        /// What is patched: `resid_pre`, `resid_mid`, `attn_out` or `mlp_out`.
        pub site: String,
        /// Block index.
        pub layer: u32,
        /// Position, counted from the first token (the beginning-of-sequence token included).
        pub position: u32,
        /// Token of the clean prompt there.
        pub clean_token: u32,
        /// Token of the corrupted prompt there.
        pub corrupted_token: u32,
        /// The metric, as it was asked for.
        pub metric: String,
        /// The metric after the patch.
        pub value: f64,
        /// Value minus the metric of the corrupted run.
        pub effect: f64,
        /// Effect over the difference between the clean and the corrupted run's metric: 1 brings the clean metric back; missing where
        /// the two do not differ.
        pub recovered: Option<f64>,
    }
}

table! {
    /// The decision of one prompt under one arm, read from the probabilities after the forced prefix: no sampling.
    pub struct DecisionRow: "decision", version 1 {
        /// Identity of the prompt within its family.
        pub prompt_id: String,
        /// Prompt family.
        pub family: String,
        /// Arm.
        pub arm: String,
        /// Block of the feature that is set, or of the dictionary that reconstructs; missing in the baseline.
        pub layer: Option<u32>,
        /// Feature that is set; missing in baseline and reconstruct-only.
        pub feature: Option<u32>,
        /// For controls: the selected feature of the same layer whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Value that the feature is set to, in the dictionary's units.
        pub value: Option<f64>,
        /// log p(target) − log p(other), in nats.
        pub log_odds: f64,
        /// Probability of the target outcome's continuations, at temperature 1 over the whole vocabulary.
        pub probability_target: f64,
        /// Probability of the other outcome's continuations.
        pub probability_other: f64,
    }
}

table! {
    /// One contrast of one feature in the decision's log-odds. A prompt is one observation.
    pub struct DecisionEffectRow: "decision_effects", version 1 {
        /// Block index.
        pub layer: u32,
        /// Feature index; missing for the reconstruct-only arm of a layer.
        pub feature: Option<u32>,
        /// `selected`, `control` or `reconstruction`.
        pub role: String,
        /// For controls: the selected feature whose levels the control copies.
        pub matched_feature: Option<u32>,
        /// Prompt family, or `both`.
        pub family: String,
        /// What is compared, as second_vs_first: `value_b_vs_value_a`, `value_a_vs_baseline`, …
        pub contrast: String,
        /// Prompts.
        pub prompts: u32,
        /// Mean log-odds under the first arm, in nats.
        pub mean_1: f64,
        /// Mean log-odds under the second arm.
        pub mean_2: f64,
        /// Second minus first.
        pub effect: f64,
        /// Lower end of the 95 % interval of the effect (paired t over prompts); missing with fewer than two prompts or without
        /// variation.
        pub ci_low: Option<f64>,
        /// Upper end of the 95 % interval.
        pub ci_high: Option<f64>,
        /// Effect over the standard deviation of the prompts' differences (d_z).
        pub cohen_dz: Option<f64>,
        /// Two-sided p value of the paired t test.
        pub p: Option<f64>,
        /// p value of a sign-flip permutation test of the prompts' differences (exact up to 16 non-zero differences, else 9,999
        /// draws).
        pub p_sign_flip: f64,
        /// Benjamini–Hochberg q value of p over all tests of selected features; missing for controls and reconstruction.
        pub q: Option<f64>,
        /// For value B against value A of selected features: percentile of |effect| among the random-feature controls' |effect|
        /// over the same prompts (mid-rank), 0 to 100.
        pub control_percentile: Option<f64>,
    }
}

table! {
    /// The first-order effect of one feature on one scalar: attribution patching. Features that are left out have an effect of
    /// exactly zero.
    #[derive(serde::Serialize)]
    pub struct ScreenRow: "screen", version 1 {
        /// Rank by |effect| over all layers, from 1.
        pub rank: u32,
        /// Block index.
        pub layer: u32,
        /// Feature index.
        pub feature: u32,
        /// The scalar: `decision` (log-odds, in nats) or a feature as L{layer}-{feature} (pre-activation at the last prompt
        /// position, in the dictionary's units).
        pub target: String,
        /// `values` (set to value B minus set to value A) or `zero` (set to zero minus left alone).
        pub mode: String,
        /// Points of the gradient's path; 1 is the gradient at the unchanged run.
        pub steps: u32,
        /// Mean over the prompts.
        pub effect: f64,
        /// Its standard error over the prompts (standard deviation with ddof 1 over √n); missing with one prompt.
        pub standard_error: Option<f64>,
        /// Prompts.
        pub prompts: u32,
        /// `top` or `random` where the exact effect was computed too.
        pub checked: Option<String>,
        /// Mean first-order effect over the prompts of the check.
        pub first_order_checked: Option<f64>,
        /// Mean effect of the edit itself over the prompts of the check.
        pub exact_checked: Option<f64>,
    }
}
