//! Statistics of causal feature experiments: tests, intervals, effect sizes, multiple testing, resampling.
//!
//! What lives here: functions from counts and numbers to results that carry what was computed (statistic, degrees of
//! freedom, estimate, interval, p-value). What must not: tensors, files, model or experiment types; the crate knows
//! nothing above it.
//!
//! Input that cannot be meant, such as NaN or more successes than trials, is a [`StatsError`]. Legal data for which a
//! quantity does not exist, such as a t statistic of constant values, gives [`Undefined`] with the reason. A returned
//! number is never NaN, and infinite only where its documentation says so.
//!
//! | question | functions |
//! |---|---|
//! | means of two groups, of pairs | [`welch_t_test`], [`paired_t_test`], [`cohens_d`], [`paired_effect_size`], [`sign_flip_test`] |
//! | proportions of two groups | [`fisher_exact`], [`chi_square_test`], [`risk_difference`], [`odds_ratio`], [`conditional_odds_ratio`] |
//! | proportions of pairs | [`mcnemar_test`], [`paired_risk_difference`] |
//! | the same within prompts | [`cochran_mantel_haenszel`], [`exact_stratified_test`], [`stratified_risk_difference`], [`stratified_mean_difference`], [`equal_odds_test`], [`cluster_bootstrap_interval`] |
//! | trends over doses | [`trend_test`], [`exact_trend_test`], [`slope_test`], [`spearman`] |
//! | do many effects differ by more than chance? | [`heterogeneity`], [`spread_of_z`] |
//! | words per response | [`log_odds_ratio`], [`dirichlet_log_odds_ratio`] |
//! | many tests | [`benjamini_hochberg`] and its relatives |
//! | place among controls | [`percentile_in`], [`upper_tail_p`] |
//! | what the data could have seen | [`detectable_risk_difference`], [`detectable_paired_risk_difference`], [`detectable_slope`], [`two_proportion_power`], [`fisher_power`] |

mod bootstrap;
mod chi_square;
mod conditional;
mod effect_size;
mod equal_odds;
mod error;
mod exact;
mod exact_stratified;
mod exact_trend;
mod gamma_distribution;
mod heterogeneity;
mod interval;
mod log_odds;
mod log_probability;
mod moments;
mod multiple_testing;
mod normal;
mod odds_ratio;
mod permutation;
mod power;
mod proportion;
mod random;
mod rank;
mod root;
mod slope;
mod stratified;
mod stratified_difference;
mod student_t;
mod t_test;
mod table;
mod trend;

pub use bootstrap::{BootstrapInterval, bootstrap_interval, cluster_bootstrap_interval};
pub use chi_square::{ChiSquareTest, TwoByTwoChiSquare, Yates, chi_square_test};
pub use effect_size::{
    EffectSize, cohens_d, cohens_d_with_interval, one_sample_effect_size, paired_effect_size,
};
pub use equal_odds::{EqualOddsTest, Tarone, equal_odds_test};
pub use error::{StatsError, Undefined};
pub use exact::{ExactTest, McNemarTest, binomial_test, fisher_exact, mcnemar_test};
pub use exact_stratified::{ExactStratified, exact_stratified_test};
pub use exact_trend::{ExactTrendTest, TrendMethod, exact_trend_test};
pub use heterogeneity::{Heterogeneity, PooledEffect, SpreadOfZ, heterogeneity, spread_of_z};
pub use interval::{Confidence, Interval};
pub use log_odds::{LogOddsRatio, WordCount, WordPrior, dirichlet_log_odds_ratio, log_odds_ratio};
pub use moments::{Moments, pooled_standard_deviation};
pub use multiple_testing::{
    benjamini_hochberg, benjamini_yekutieli, bonferroni, holm, simes, storey_pi0, storey_pi0_over_grid,
    storey_q_values,
};
pub use odds_ratio::{HaldaneAnscombe, OddsRatio, conditional_odds_ratio, odds_ratio};
pub use permutation::{MAX_EXACT_PATTERNS, PermutationMethod, SignFlipTest, label_flips, sign_flip_test};
pub use power::{
    DetectableDifference, MAX_FISHER_POWER_TABLES, PowerTarget, detectable_paired_risk_difference,
    detectable_risk_difference, detectable_slope, fisher_power, two_proportion_power,
};
pub use proportion::{
    RiskDifference, covering_proportion_interval, paired_risk_difference, risk_difference, wilson_interval,
};
pub use random::ResampleKey;
pub use rank::{SpearmanCorrelation, mid_ranks, percentile_in, quantile, spearman, upper_tail_p};
pub use slope::{SlopeErrors, SlopeTest, slope_test};
pub use stratified::{CochranMantelHaenszel, cochran_mantel_haenszel};
pub use stratified_difference::{StratifiedDifference, covering_risk_difference, stratified_risk_difference};
pub use t_test::{
    MeanDifference, TStatistic, one_sample_t_test, paired_t_test, stratified_mean_difference, welch_t,
    welch_t_test,
};
pub use table::{PairedTable, Proportion, TwoByTwo};
pub use trend::{DoseGroup, TrendTest, TrendVariance, trend_test};
