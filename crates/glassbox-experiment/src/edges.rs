//! From replays to edges: the effect of a source feature on every downstream feature, over prompts.

use std::collections::BTreeMap;

use glassbox_stats::{Confidence, Moments, ResampleKey, label_flips, one_sample_t_test};

use crate::arm::Arm;
use crate::calibration::check;
use crate::causal::{Comparison, VALUE_A_VS_BASELINE, VALUE_B_VS_BASELINE, VALUE_VS_VALUE};
use crate::contrast::{count, known_share};
use crate::error::ExperimentError;
use crate::scenario::PathwaySettings;
use crate::tables::{CheckRow, PathwayRow};
use crate::test_family::adjust_family;
use crate::trial_index::PairKey;

/// Why a feature is replayed as a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceRole {
    /// Among the strongest causal features.
    Causal,
    /// Among the strongest targets of those.
    SecondWave,
    /// A random feature, as negative control.
    Control,
}

impl SourceRole {
    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Causal => "causal",
            Self::SecondWave => "second_wave",
            Self::Control => "control",
        }
    }
}

/// A feature that replays set to two values.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFeature {
    /// Block index.
    pub layer: u32,
    /// Feature index.
    pub feature: u32,
    /// Value A.
    pub value_a: f64,
    /// Value B.
    pub value_b: f64,
    /// Why it is replayed.
    pub role: SourceRole,
}

/// A recorded feature: (layer, feature).
pub type RecordedFeature = (u32, u32);

/// What one replay recorded about one feature. Features without an entry were never active.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Recorded {
    /// Mean activation over the generated tokens; where sources act at the end of the prompt alone, the activation there.
    pub mean: f64,
    /// Activation at the last prompt position.
    pub at_prompt_end: f64,
}

/// All replays of one arm.
pub type Replays = BTreeMap<PairKey, BTreeMap<RecordedFeature, Recorded>>;

/// The replays of one source under both values.
#[derive(Clone, Debug)]
pub struct SourceReplays {
    /// The source.
    pub source: SourceFeature,
    /// Under value A.
    pub value_a: Replays,
    /// Under value B.
    pub value_b: Replays,
}

/// Differences of one target, per prompt.
#[derive(Default)]
struct Differences {
    /// Per prompt: sum over trials of second − first, and the number of trials.
    by_prompt: Vec<(f64, u32)>,
    at_prompt_end: f64,
    sum_1: f64,
    sum_2: f64,
    active_pairs: u32,
}

/// Edges of every source to every feature of later layers.
///
/// The unit of replication is the prompt: each prompt's mean difference over its trials is one observation of a paired t
/// test (with fewer than [`FEWEST_PROMPTS`] prompts, each pair is). A target is tested if it is active, under either arm, in at least `min_active_share` of the pairs. All
/// tests of sources that are not controls form one Benjamini–Hochberg family.
///
/// # Errors
/// [`ExperimentError::Stats`] for values that no test can hold.
pub fn pathway_rows(
    baseline: &Replays,
    sources: &[SourceReplays],
    settings: &PathwaySettings,
) -> Result<Vec<PathwayRow>, ExperimentError> {
    let mut rows = Vec::new();
    for replays in sources {
        for comparison in [VALUE_VS_VALUE, VALUE_A_VS_BASELINE, VALUE_B_VS_BASELINE] {
            let arm = |arm: Arm| match arm {
                Arm::ValueA => &replays.value_a,
                Arm::ValueB => &replays.value_b,
                _ => baseline,
            };
            rows.extend(edges(
                &replays.source,
                &comparison,
                arm(comparison.first),
                arm(comparison.second),
                settings,
            )?);
        }
    }
    adjust(&mut rows)?;
    rank_among_controls(&mut rows)?;
    Ok(rows)
}

/// Where each value-against-value edge stands among the random sources' edges into the same layer, by |d_z|.
fn rank_among_controls(rows: &mut [PathwayRow]) -> Result<(), ExperimentError> {
    let control = SourceRole::Control.name();
    let mut by_layer: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.source_role == control && row.contrast == VALUE_VS_VALUE.name)
    {
        by_layer
            .entry(row.target_layer)
            .or_default()
            .extend(row.cohen_dz.map(f64::abs));
    }
    for sizes in by_layer.values_mut() {
        sizes.sort_by(f64::total_cmp);
    }
    for row in rows
        .iter_mut()
        .filter(|row| row.source_role != control && row.contrast == VALUE_VS_VALUE.name)
    {
        let (Some(sizes), Some(size)) = (by_layer.get(&row.target_layer), row.cohen_dz.map(f64::abs)) else {
            continue;
        };
        // Mid-rank: the share below plus half the share equal.
        let below = sizes.partition_point(|other| *other < size);
        let equal = sizes.partition_point(|other| *other <= size) - below;
        row.control_percentile = Some(100.0 * (below as f64 + 0.5 * equal as f64) / sizes.len() as f64);
    }
    Ok(())
}

fn adjust(rows: &mut [PathwayRow]) -> Result<(), ExperimentError> {
    let control = SourceRole::Control.name();
    adjust_family(
        rows,
        |row| (row.source_role != control).then_some(row.p),
        |row, q| row.q = Some(q),
    )
}

/// With fewer prompts than this, each pair of replays is an observation of its own.
pub const FEWEST_PROMPTS: usize = 6;

/// Whether prompts, rather than single pairs, are the observations.
pub fn prompts_are_observations(replays: &Replays) -> bool {
    let mut prompts: Vec<(&str, &str)> = replays
        .keys()
        .map(|key| (key.family.as_str(), key.prompt_id.as_str()))
        .collect();
    prompts.dedup();
    prompts.len() >= FEWEST_PROMPTS
}

/// Differences of every target of one source under one comparison, by observation.
fn differences(
    source_layer: u32,
    first: &Replays,
    second: &Replays,
) -> (BTreeMap<RecordedFeature, Differences>, u32, usize) {
    // The trial is part of an observation's name only where single pairs are observations.
    let by_prompt = prompts_are_observations(first);
    let name = |key: &'_ PairKey| if by_prompt { 0 } else { key.trial + 1 };
    let mut prompts: BTreeMap<(&str, &str, u32), usize> = BTreeMap::new();
    let mut targets: BTreeMap<RecordedFeature, Differences> = BTreeMap::new();
    let mut pairs = 0;
    for (key, firsts) in first {
        let Some(seconds) = second.get(key) else { continue };
        pairs += 1;
        let next = prompts.len();
        let prompt = *prompts
            .entry((key.family.as_str(), key.prompt_id.as_str(), name(key)))
            .or_insert(next);
        let features = firsts
            .keys()
            .chain(seconds.keys().filter(|feature| !firsts.contains_key(feature)));
        for feature in features.filter(|(layer, _)| *layer > source_layer) {
            let a = firsts.get(feature).copied().unwrap_or_default();
            let b = seconds.get(feature).copied().unwrap_or_default();
            let target = targets.entry(*feature).or_default();
            if target.by_prompt.len() <= prompt {
                target.by_prompt.resize(prompt + 1, (0.0, 0));
            }
            target.by_prompt[prompt].0 += b.mean - a.mean;
            target.at_prompt_end += b.at_prompt_end - a.at_prompt_end;
            target.sum_1 += a.mean;
            target.sum_2 += b.mean;
            if a.mean > 0.0 || b.mean > 0.0 {
                target.active_pairs += 1;
            }
        }
        for target in targets.values_mut() {
            if target.by_prompt.len() <= prompt {
                target.by_prompt.resize(prompt + 1, (0.0, 0));
            }
        }
    }
    // Pairs in which a target had no entry count as differences of zero.
    let mut trials = vec![0_u32; prompts.len()];
    for key in first.keys().filter(|key| second.contains_key(key)) {
        if let Some(&prompt) = prompts.get(&(key.family.as_str(), key.prompt_id.as_str(), name(key))) {
            trials[prompt] += 1;
        }
    }
    for target in targets.values_mut() {
        target.by_prompt.resize(prompts.len(), (0.0, 0));
        for (entry, trials) in target.by_prompt.iter_mut().zip(&trials) {
            entry.1 = *trials;
        }
    }
    (targets, pairs, prompts.len())
}

fn prompt_means(differences: &Differences) -> Vec<f64> {
    differences
        .by_prompt
        .iter()
        .filter(|(_, trials)| *trials > 0)
        .map(|(sum, trials)| sum / f64::from(*trials))
        .collect()
}

fn edges(
    source: &SourceFeature,
    comparison: &Comparison,
    first: &Replays,
    second: &Replays,
    settings: &PathwaySettings,
) -> Result<Vec<PathwayRow>, ExperimentError> {
    let (targets, pairs, prompts) = differences(source.layer, first, second);
    let confidence = Confidence::new(0.95)?;
    let mut rows = Vec::new();
    for ((target_layer, target_feature), target) in targets {
        let active_share = f64::from(target.active_pairs) / f64::from(pairs.max(1));
        if active_share < settings.min_active_share {
            continue;
        }
        let means = prompt_means(&target);
        let Ok(test) = one_sample_t_test(&Moments::from_slice(&means)?, confidence) else {
            continue;
        };
        let n = f64::from(pairs);
        rows.push(PathwayRow {
            source_layer: source.layer,
            source_feature: source.feature,
            source_role: source.role.name().to_owned(),
            target_layer,
            target_feature,
            contrast: comparison.name.to_owned(),
            pairs,
            prompts: count(prompts as u64),
            active_share,
            mean_1: target.sum_1 / n,
            mean_2: target.sum_2 / n,
            effect: test.difference,
            ci_low: test.interval.lower,
            ci_high: test.interval.upper,
            // The paired effect size is t / √n.
            cohen_dz: Some(test.test.t / (means.len() as f64).sqrt()),
            p: test.test.p,
            q: None,
            effect_at_prompt_end: target.at_prompt_end / n,
            control_percentile: None,
        });
    }
    Ok(rows)
}

/// Checks of the edges: level under exchanged labels, and what random sources give.
///
/// # Errors
/// [`ExperimentError::Stats`].
pub fn pathway_checks(
    sources: &[SourceReplays],
    rows: &[PathwayRow],
    settings: &PathwaySettings,
    seed: u64,
) -> Result<Vec<CheckRow>, ExperimentError> {
    let confidence = Confidence::new(0.95)?;
    let (mut tests, mut rejected) = (0_u64, 0_u64);
    for replays in sources
        .iter()
        .filter(|replays| replays.source.role != SourceRole::Control)
    {
        let (targets, pairs, _) = differences(replays.source.layer, &replays.value_a, &replays.value_b);
        for ((layer, feature), target) in targets {
            if f64::from(target.active_pairs) / f64::from(pairs.max(1)) < settings.min_active_share {
                continue;
            }
            let mut means = prompt_means(&target);
            let source = (u64::from(replays.source.layer) << 32) | u64::from(replays.source.feature);
            let key: ResampleKey = [seed, source, (u64::from(layer) << 32) | u64::from(feature), 2];
            for (mean, flip) in means.iter_mut().zip(label_flips(target.by_prompt.len(), 0, &key)) {
                if flip {
                    *mean = -*mean;
                }
            }
            if let Ok(test) = one_sample_t_test(&Moments::from_slice(&means)?, confidence) {
                tests += 1;
                rejected += u64::from(test.test.p < 0.05);
            }
        }
    }
    let limit = 0.05 + 2.0 * (0.05 * 0.95 / tests.max(1) as f64).sqrt();
    let share = known_share(rejected, tests);
    let mut checks = vec![check(
        "pathways",
        "permuted_labels",
        share,
        Some(limit),
        share.map(|share| share <= limit),
        format!(
            "Share of edges with p < 0.05 after the labels of values A and B were exchanged at random, prompt by prompt \
             ({tests} edges). A valid test stays at or below 5 % plus two standard errors."
        ),
    )];
    let share_of = |control: bool| {
        let of: Vec<&PathwayRow> = rows
            .iter()
            .filter(|row| (row.source_role == SourceRole::Control.name()) == control)
            .filter(|row| row.contrast == VALUE_VS_VALUE.name)
            .collect();
        (
            of.iter().filter(|row| row.p < 0.001).count() as u64,
            of.len() as u64,
        )
    };
    let ((control, controls), (found, all)) = (share_of(true), share_of(false));
    checks.push(check(
        "pathways",
        "random_sources",
        known_share(control, controls),
        None,
        None,
        format!(
            "Share of value-against-value edges of random sources with p < 0.001 ({control} of {controls}); of other sources \
             {found} of {all}. Any direction written into the residual is read by later layers: an edge says that the \
             source moves the target, not that it does so more than another direction would."
        ),
    ));
    let by_prompt = sources
        .first()
        .is_none_or(|replays| prompts_are_observations(&replays.value_a));
    checks.push(check(
        "pathways",
        "observations_are_prompts",
        None,
        None,
        None,
        if by_prompt {
            "Prompts are the observations of every test of an edge: trials of one prompt are averaged first.".into()
        } else {
            format!(
                "Fewer than {FEWEST_PROMPTS} prompts: single pairs of replays are the observations, so the findings hold for these \
                 prompts and say nothing about others."
            )
        },
    ));
    checks.push(check(
        "pathways",
        "replays_mix_two_influences",
        None,
        None,
        None,
        "A replay generates anew under the patch: effects over generated tokens mix the source's direct influence with the \
         influence of changed tokens. The effect at the last prompt position, before any token can differ, stands beside them."
            .into(),
    ));
    Ok(checks)
}
