//! The *select* stage: which features differ between the two prompt families at the last prompt position.

use std::collections::BTreeMap;

use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_stats::{Moments, cohens_d, welch_t};

use crate::capture::LastPositions;
use crate::edges::RecordedFeature;
use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::feature_name::parse_feature_names;
use crate::prompts::Prompt;
use crate::scenario::{SelectSettings, SelectionRank};
use crate::session::Session;
use crate::tables::SelectionRow;
use crate::test_family::adjust_family;

/// Prompts of one forward pass.
const PROMPTS_AT_A_TIME: usize = 16;

/// One feature over the prompts of one family.
#[derive(Clone, Debug)]
struct FamilyActivations {
    moments: Moments,
    active: u64,
}

impl Default for FamilyActivations {
    fn default() -> Self {
        Self {
            moments: Moments::new(),
            active: 0,
        }
    }
}

/// Compares every feature of every layer between the families. `prompts` holds both families.
///
/// # Errors
/// Those of the model and the dictionaries; [`ExperimentError::Interrupted`] if the reporter asks for a stop.
pub fn select(
    session: &Session,
    prompts: &[Prompt],
    families: [&str; 2],
    settings: &SelectSettings,
    reporter: &dyn Reporter,
) -> Result<Vec<SelectionRow>, ExperimentError> {
    let layers = session.layers();
    let mut activations: BTreeMap<u32, [Vec<FamilyActivations>; 2]> = BTreeMap::new();
    for &layer in &layers {
        let empty = vec![FamilyActivations::default(); session.dictionary(layer)?.features()];
        activations.insert(layer, [empty.clone(), empty]);
    }
    let mut workspace = session.model().workspace();
    let mut capture = LastPositions::new(layers.iter().copied());
    let mut done = 0;
    for family in 0..2 {
        let of_family: Vec<&Prompt> = prompts
            .iter()
            .filter(|prompt| prompt.family == families[family])
            .collect();
        for chunk in of_family.chunks(PROMPTS_AT_A_TIME) {
            if reporter.should_stop() {
                return Err(ExperimentError::Interrupted {
                    stage: "select",
                    done,
                    total: prompts.len() as u64,
                });
            }
            let rows: Vec<Vec<u32>> = chunk
                .iter()
                .map(|prompt| session.encode(&prompt.text))
                .collect::<Result<_, _>>()?;
            let batch = TokenBatch::from_rows(&rows)?;
            let request = ForwardRequest::new(&batch)
                .logits(LogitPositions::None)
                .visitor(&mut capture);
            session.model().forward(&mut workspace, request)?;
            for (layer, values) in capture.layers() {
                let Some(accumulated) = activations.get_mut(&layer) else {
                    continue;
                };
                add_rows(session, layer, values, chunk.len(), &mut accumulated[family])?;
            }
            done += chunk.len() as u64;
            let tokens = rows.iter().map(Vec::len).sum::<usize>() as u64;
            reporter.report(Event::Advanced {
                stage: "select",
                units: chunk.len() as u64,
                tokens,
            });
        }
    }
    let mut rows = Vec::new();
    for (layer, [a, b]) in &activations {
        for (feature, (a, b)) in a.iter().zip(b).enumerate() {
            rows.push(selection_row(*layer, feature as u32, a, b)?);
        }
    }
    let listed = parse_feature_names("select", &settings.features)?;
    for &(layer, feature) in &listed {
        session.check_layer(layer)?;
        session.dictionary(layer)?.description().check_feature(feature)?;
    }
    control_false_discoveries(&mut rows)?;
    mark_selected(&mut rows, settings, &listed, |row| match settings.rank_by {
        SelectionRank::Step => {
            Ok((row.mean_b - row.mean_a).abs() * session.decoder_norm(row.layer, row.feature)?)
        }
        // A ranking by attribution needs every feature's values first; see `select_by_attribution`.
        SelectionRank::CohenD | SelectionRank::Attribution => Ok(row.cohen_d.map_or(0.0, f64::abs)),
    })?;
    Ok(rows)
}

/// Ranks and marks the rows of [`select`] anew, by |effect| of a screen.
///
/// # Errors
/// [`ExperimentError::Data`] for a listed feature that is no feature's name.
pub fn select_by_attribution(
    rows: &mut [SelectionRow],
    settings: &SelectSettings,
    effect: impl Fn(u32, u32) -> Option<f64>,
) -> Result<(), ExperimentError> {
    let listed = parse_feature_names("select", &settings.features)?;
    mark_selected(rows, settings, &listed, |row| {
        Ok(effect(row.layer, row.feature).map_or(0.0, f64::abs))
    })
}

/// One Benjamini–Hochberg family over everything tested.
fn control_false_discoveries(rows: &mut [SelectionRow]) -> Result<(), ExperimentError> {
    adjust_family(rows, |row| row.p, |row, q| row.q = Some(q))
}

/// Adds the features of `n` residual rows to a family's sums; inactive features count as zeros.
fn add_rows(
    session: &Session,
    layer: u32,
    values: &[f32],
    n: usize,
    family: &mut [FamilyActivations],
) -> Result<(), ExperimentError> {
    let sparse = session.encode_rows(layer, values, n)?;
    let mut seen = vec![0_u64; family.len()];
    for (_, feature, value) in sparse.iter() {
        let entry = &mut family[feature as usize];
        entry.moments.push(f64::from(value))?;
        entry.active += 1;
        seen[feature as usize] += 1;
    }
    for (entry, seen) in family.iter_mut().zip(seen) {
        entry.moments.merge(&Moments::repeated(0.0, n as u64 - seen)?)?;
    }
    Ok(())
}

fn selection_row(
    layer: u32,
    feature: u32,
    a: &FamilyActivations,
    b: &FamilyActivations,
) -> Result<SelectionRow, ExperimentError> {
    let mean = |family: &FamilyActivations| family.moments.mean().unwrap_or_default();
    let deviation = |family: &FamilyActivations| family.moments.standard_deviation().unwrap_or_default();
    let share = |family: &FamilyActivations| family.active as f64 / family.moments.count().max(1) as f64;
    // B minus A, so that a positive d means "higher in family B".
    let test = welch_t(&b.moments, &a.moments).ok();
    Ok(SelectionRow {
        layer,
        feature,
        mean_a: mean(a),
        mean_b: mean(b),
        sd_a: deviation(a),
        sd_b: deviation(b),
        n_a: a.moments.count() as u32,
        n_b: b.moments.count() as u32,
        active_share_a: share(a),
        active_share_b: share(b),
        welch_t: test.map(|test| test.t),
        degrees_of_freedom: test.map(|test| test.df),
        p: test.map(|test| test.p),
        q: None,
        cohen_d: cohens_d(&b.moments, &a.moments).ok(),
        rank_in_layer: None,
        selected: false,
    })
}

/// Marks the top n of each layer by `size` among those with q below alpha, or those that are listed.
fn mark_selected(
    rows: &mut [SelectionRow],
    settings: &SelectSettings,
    listed: &[RecordedFeature],
    size: impl Fn(&SelectionRow) -> Result<f64, ExperimentError>,
) -> Result<(), ExperimentError> {
    for row in rows.iter_mut() {
        (row.rank_in_layer, row.selected) = (None, false);
    }
    let untested = is_untested(rows);
    let candidate = |row: &SelectionRow| {
        if untested {
            row.mean_a != row.mean_b
        } else {
            row.q.is_some_and(|q| q < settings.alpha)
        }
    };
    let mut by_layer: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| candidate(row)) {
        by_layer.entry(row.layer).or_default().push(index);
    }
    for indices in by_layer.values_mut() {
        let mut ranked: Vec<(f64, usize)> = Vec::with_capacity(indices.len());
        for &index in indices.iter() {
            let row = &rows[index];
            let by_means = untested && settings.rank_by != SelectionRank::Attribution;
            let size = match by_means {
                true => (row.mean_b - row.mean_a).abs(),
                false => size(row)?,
            };
            ranked.push((size, index));
        }
        ranked.sort_by(|x, y| {
            y.0.total_cmp(&x.0)
                .then(rows[x.1].feature.cmp(&rows[y.1].feature))
        });
        *indices = ranked.into_iter().map(|(_, index)| index).collect();
        for (rank, &index) in indices.iter().enumerate() {
            rows[index].rank_in_layer = Some(rank as u32 + 1);
            rows[index].selected = rank < settings.top_per_layer;
        }
    }
    if !listed.is_empty() {
        for row in rows {
            row.selected = listed.contains(&(row.layer, row.feature));
        }
    }
    Ok(())
}

/// Whether a family has too few prompts for any test: features are then chosen by the size of their difference alone.
pub fn is_untested(rows: &[SelectionRow]) -> bool {
    rows.iter().all(|row| row.n_a < 2 || row.n_b < 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(values: &[f64]) -> FamilyActivations {
        FamilyActivations {
            moments: Moments::from_slice(values).unwrap(),
            active: values.iter().filter(|value| **value > 0.0).count() as u64,
        }
    }

    #[test]
    fn selection_takes_the_largest_differences_of_each_layer_within_one_family_of_tests() {
        let flat = family(&[1.0, 1.1, 0.9, 1.0, 1.05, 0.95]);
        let shifted = |by: f64| family(&[1.0 + by, 1.1 + by, 0.9 + by, 1.0 + by, 1.05 + by, 0.95 + by]);
        let mut rows: Vec<SelectionRow> = Vec::new();
        for layer in 0..2 {
            for (feature, by) in [(0, 0.0), (1, 2.0), (2, -3.0), (3, 1.0)] {
                rows.push(selection_row(layer, feature, &flat, &shifted(by)).unwrap());
            }
        }
        rows.push(selection_row(1, 9, &family(&[0.0; 6]), &family(&[0.0; 6])).unwrap());
        let settings = SelectSettings {
            top_per_layer: 2,
            ..SelectSettings::default()
        };
        control_false_discoveries(&mut rows).unwrap();
        mark_selected(&mut rows, &settings, &[], |row| {
            Ok(row.cohen_d.map_or(0.0, f64::abs))
        })
        .unwrap();
        let selected: Vec<(u32, u32)> = rows
            .iter()
            .filter(|row| row.selected)
            .map(|row| (row.layer, row.feature))
            .collect();
        assert_eq!(selected, [(0, 1), (0, 2), (1, 1), (1, 2)]);
        assert_eq!(rows[2].rank_in_layer, Some(1));
        assert!(rows[2].cohen_d.unwrap() < 0.0 && rows[1].cohen_d.unwrap() > 0.0);
        assert_eq!((rows[8].p, rows[8].q, rows[8].selected), (None, None, false));

        // The effects of a screen rank the same candidates otherwise.
        select_by_attribution(&mut rows, &settings, |_, feature| Some(-f64::from(feature))).unwrap();
        let selected = rows
            .iter()
            .filter(|row| row.selected)
            .map(|row| (row.layer, row.feature));
        assert_eq!(selected.collect::<Vec<_>>(), [(0, 2), (0, 3), (1, 2), (1, 3)]);
    }
}
