//! One contrast of two treatments, tested: effect, interval, p.

use std::collections::BTreeMap;

use glassbox_stats::{
    Confidence, HaldaneAnscombe, Moments, PairedTable, Proportion, TwoByTwo, cohens_d, fisher_exact,
    mcnemar_test, odds_ratio, one_sample_t_test, paired_risk_difference,
};

use crate::error::ExperimentError;
use crate::trial_index::Pair;

/// The rate of the target outcome, second treatment against first.
#[derive(Clone, Debug, PartialEq)]
pub struct RateContrast {
    /// Pairs.
    pub pairs: u32,
    /// Rate under the first treatment.
    pub rate_1: f64,
    /// Rate under the second treatment.
    pub rate_2: f64,
    /// Second minus first.
    pub effect: f64,
    /// Newcombe's 95 % interval for pairs.
    pub interval: (f64, f64),
    /// Odds ratio, second over first, from the unpaired counts.
    pub odds_ratio: Option<f64>,
    /// Pairs in which only the second trial ended in the target.
    pub gained: u32,
    /// Pairs in which only the first did.
    pub lost: u32,
    /// McNemar's exact two-sided p value.
    pub p: f64,
    /// Fisher's exact two-sided p value of the unpaired counts.
    pub p_fisher: f64,
    /// Share of trials with an unknown outcome, first and second treatment.
    pub unknown: (f64, f64),
    /// Effect and exact p value among pairs in which both outcomes are known; missing without such pairs.
    pub known: Option<(f64, f64)>,
}

/// Tests the target rate of paired trials; `None` without pairs. Unknown outcomes count as not the target.
///
/// # Errors
/// [`ExperimentError::Stats`] for counts beyond what the tests can hold.
pub fn rate_contrast(pairs: &[Pair<'_>]) -> Result<Option<RateContrast>, ExperimentError> {
    if pairs.is_empty() {
        return Ok(None);
    }
    let first: Vec<bool> = pairs.iter().map(|pair| pair.first.target).collect();
    let second: Vec<bool> = pairs.iter().map(|pair| pair.second.target).collect();
    let unknown = |known: fn(&Pair<'_>) -> bool| {
        pairs.iter().filter(|pair| !known(pair)).count() as f64 / pairs.len() as f64
    };
    let unknown = (
        unknown(|pair| pair.first.known),
        unknown(|pair| pair.second.known),
    );
    let (first_known, second_known): (Vec<bool>, Vec<bool>) = pairs
        .iter()
        .filter(|pair| pair.first.known && pair.second.known)
        .map(|pair| (pair.first.target, pair.second.target))
        .unzip();
    let known = PairedTable::from_outcomes(&second_known, &first_known)?;
    // The statistics take the second treatment first, so that estimates are second minus first.
    let table = &PairedTable::from_outcomes(&second, &first)?;
    let confidence = Confidence::new(0.95)?;
    let Ok(difference) = paired_risk_difference(table, confidence) else {
        return Ok(None);
    };
    let unpaired = TwoByTwo::new(table.first(), table.second())?;
    let n = table.pairs() as f64;
    Ok(Some(RateContrast {
        pairs: count(table.pairs()),
        rate_1: table.second().successes() as f64 / n,
        rate_2: table.first().successes() as f64 / n,
        effect: difference.estimate,
        interval: (difference.interval.lower, difference.interval.upper),
        odds_ratio: odds_ratio(&unpaired, HaldaneAnscombe::WhereEmpty, confidence)
            .ok()
            .map(|ratio| ratio.estimate)
            .filter(|ratio| ratio.is_finite()),
        gained: count(table.only_first()),
        lost: count(table.only_second()),
        p: mcnemar_test(table).exact.p,
        p_fisher: fisher_exact(&unpaired).p,
        unknown,
        known: paired_risk_difference(&known, confidence)
            .ok()
            .map(|difference| (difference.estimate, mcnemar_test(&known).exact.p)),
    }))
}

/// The mean captured amount, second treatment against first, over pairs in which both trials have one.
#[derive(Clone, Debug, PartialEq)]
pub struct AmountContrast {
    /// Pairs with two amounts.
    pub pairs: u32,
    /// Mean under the first.
    pub mean_1: f64,
    /// Mean under the second.
    pub mean_2: f64,
    /// Second minus first.
    pub effect: f64,
    /// 95 % interval and p value of a paired t test over prompts, each prompt's mean difference being one observation;
    /// missing with fewer than two prompts or without variation.
    pub test: Option<(f64, f64, f64)>,
    /// Cohen's d of the two groups (pooled, ddof 1), second minus first; descriptive.
    pub cohen_d: Option<f64>,
}

/// Compares amounts within pairs; `None` if no pair has two. A treatment that changes whether an amount is chosen at all
/// changes which pairs are compared, but not the prompts' weights between the two sides: both sides are the same
/// pairs.
///
/// # Errors
/// [`ExperimentError::Stats`] for amounts that are not finite.
pub fn amount_contrast(pairs: &[Pair<'_>]) -> Result<Option<AmountContrast>, ExperimentError> {
    let mut by_prompt: BTreeMap<(&str, &str), Moments> = BTreeMap::new();
    let (mut first, mut second) = (Moments::new(), Moments::new());
    for pair in pairs {
        let (Some(a), Some(b)) = (pair.first.amount, pair.second.amount) else {
            continue;
        };
        first.push(a)?;
        second.push(b)?;
        by_prompt
            .entry((&pair.key.family, &pair.key.prompt_id))
            .or_default()
            .push(b - a)?;
    }
    let (Ok(mean_1), Ok(mean_2)) = (first.mean(), second.mean()) else {
        return Ok(None);
    };
    let mut prompts = Moments::new();
    for moments in by_prompt.values() {
        if let Ok(mean) = moments.mean() {
            prompts.push(mean)?;
        }
    }
    let test = one_sample_t_test(&prompts, Confidence::new(0.95)?).ok();
    Ok(Some(AmountContrast {
        pairs: count(first.count()),
        mean_1,
        mean_2,
        effect: mean_2 - mean_1,
        test: test.map(|found| (found.interval.lower, found.interval.upper, found.test.p)),
        cohen_d: cohens_d(&second, &first).ok(),
    }))
}

/// Share of trials whose outcome the parser could read.
pub(crate) fn known_share(known: u64, all: u64) -> Option<f64> {
    Proportion::new(known, all)
        .ok()
        .and_then(|proportion| proportion.estimate().ok())
}

/// Counts of trials fit 32 bits: a plan holds fewer.
pub(crate) fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
