//! Rows of the tables of effects.

use glassbox_store::table;

table! {
    /// One contrast of one feature and measure. Effects are second minus first; each is made within prompts and combined.
    #[derive(serde::Serialize)]
    pub struct LogEffectRow: "log_effects", version 1 {
        /// Block index.
        pub layer: u32,
        /// Index of the feature in the block's dictionary.
        pub feature: u32,
        /// `feature`, or `control` for a random feature.
        pub role: String,
        /// What is compared: second_vs_first.
        pub comparison: String,
        /// What of the outcome: `stop`, `bet>=20`, `amount`, …
        pub measure: String,
        /// Trials of the first arm of which the measure is known.
        pub n_1: u64,
        /// Trials of the second arm of which it is known.
        pub n_2: u64,
        /// Trials of the first arm of which it is not known.
        pub unknown_1: u64,
        /// Trials of the second arm of which it is not known.
        pub unknown_2: u64,
        /// Rate or mean of the first arm, all prompts together.
        pub value_1: Option<f64>,
        /// Rate or mean of the second arm, all prompts together.
        pub value_2: Option<f64>,
        /// Second minus first within prompts (Mantel–Haenszel weights); missing where no prompt has both arms.
        pub effect: Option<f64>,
        /// Lower limit of its 95 % interval.
        pub ci_low: Option<f64>,
        /// Upper limit of its 95 % interval.
        pub ci_high: Option<f64>,
        /// Standard error of the effect.
        pub standard_error: Option<f64>,
        /// Common odds ratio, second over first; missing where infinite, and for amounts.
        pub odds_ratio: Option<f64>,
        /// Lower limit of its 95 % interval.
        pub odds_low: Option<f64>,
        /// Upper limit; missing where infinite.
        pub odds_high: Option<f64>,
        /// Cohen's d: the effect over the pooled standard deviation within arms and prompts (ddof 1).
        pub cohen_d: Option<f64>,
        /// Lower limit of its 95 % interval.
        pub d_low: Option<f64>,
        /// Upper limit of its 95 % interval.
        pub d_high: Option<f64>,
        /// Signed test statistic, of mean 0 and variance 1 under the hypothesis; missing where there is no information.
        pub z: Option<f64>,
        /// Two-sided p value; missing where there is no information. Families count such tests as p = 1.
        pub p: Option<f64>,
        /// `exact`, `cochran_mantel_haenszel` or `t`.
        pub test: Option<String>,
        /// Benjamini–Hochberg q value over all features and measures of this comparison.
        pub q: Option<f64>,
        /// Benjamini–Yekutieli q value over the same family: under any dependence.
        pub q_any_dependence: Option<f64>,
        /// q value with Storey's estimate of the share of true hypotheses.
        pub q_storey: Option<f64>,
        /// Prompts with trials in both arms.
        pub prompts: u64,
        /// Smallest change of the rate from `value_1` that a single test at 5 % would find with 80 % power.
        pub detectable: Option<f64>,
    }
}

table! {
    /// The trend of one feature's outcome over doses, within prompts.
    #[derive(serde::Serialize)]
    pub struct LogDoseRow: "log_doses", version 1 {
        /// Block index.
        pub layer: u32,
        /// Index of the feature in the block's dictionary.
        pub feature: u32,
        /// What of the outcome: `stop`, `bet>=20`, `amount`, …
        pub measure: String,
        /// Doses.
        pub doses: u64,
        /// Lowest dose.
        pub lowest_dose: f64,
        /// Highest dose.
        pub highest_dose: f64,
        /// Trials of which the measure is known.
        pub n: u64,
        /// Trials of which it is not known.
        pub unknown: u64,
        /// Rate or mean at the lowest dose, all prompts together.
        pub value_lowest: Option<f64>,
        /// Rate or mean at the highest dose, all prompts together.
        pub value_highest: Option<f64>,
        /// Change per unit of dose, one slope for all prompts.
        pub slope: Option<f64>,
        /// Change over the whole range of doses: slope × range.
        pub effect: Option<f64>,
        /// Lower limit of its 95 % interval.
        pub ci_low: Option<f64>,
        /// Upper limit of its 95 % interval.
        pub ci_high: Option<f64>,
        /// Standard error of the effect.
        pub standard_error: Option<f64>,
        /// Signed test statistic, of mean 0 and variance 1 under the hypothesis.
        pub z: Option<f64>,
        /// Two-sided p value; missing where there is no information. The family counts such tests as p = 1.
        pub p: Option<f64>,
        /// `trend`, `exact_trend` or `slope_t_hc3`.
        pub test: Option<String>,
        /// Benjamini–Hochberg q value over all features and measures.
        pub q: Option<f64>,
        /// Benjamini–Yekutieli q value over the same family.
        pub q_any_dependence: Option<f64>,
        /// q value with Storey's estimate of the share of true hypotheses.
        pub q_storey: Option<f64>,
        /// Prompts with at least two doses.
        pub prompts: u64,
        /// Smallest change over the range that a single test at 5 % would find with 80 % power; missing for amounts.
        pub detectable: Option<f64>,
    }
}
