//! The pathway table: the edges worth drawing, and how many were tested from each source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use glassbox_experiment::tables::PathwayRow;
use glassbox_store::TableReader;

use super::{Contrast, FeatureId};
use crate::ReportError;

/// Edges kept for figures and tables.
const KEPT_EDGES: usize = 1000;

/// What *pathways* found, value B against value A.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathwayData {
    /// Significant edges, strongest first: those between features of the sweep, and the strongest of the others.
    pub edges: Vec<PathwayRow>,
    /// All significant edges of sources that are no controls.
    pub significant: u64,
    /// Those of them that lie beyond `control_percentile` among the random sources’ edges.
    pub beyond_controls: u64,
    /// The sources in order.
    pub sources: BTreeMap<FeatureId, SourceTally>,
    /// Rows of the table, all contrasts.
    pub rows: u64,
    /// False discovery rate, if the scenario is known.
    pub alpha: Option<f64>,
    /// Percentile among controls that an effect must pass, if the scenario is known.
    pub control_percentile: Option<f64>,
}

/// Edges of one source, value B against value A.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// `causal`, `second_wave` or `control`.
    pub role: String,
    /// Edges tested.
    pub tested: u64,
    /// Edges with p below 0.05.
    pub nominal: u64,
    /// Edges with q below alpha; controls have no q.
    pub significant: u64,
}

/// How an edge is ranked: its standardised effect. An effect that does not vary between prompts is beyond all others.
pub fn edge_strength(edge: &PathwayRow) -> f64 {
    match edge.cohen_dz {
        Some(dz) => dz.abs(),
        None if edge.effect == 0.0 => 0.0,
        None => f64::MAX,
    }
}

impl PathwayData {
    /// Adds one row; `swept` are the features of the sweep.
    pub fn add(&mut self, row: PathwayRow, swept: &BTreeSet<FeatureId>) {
        self.rows += 1;
        if Contrast::from_name(&row.contrast) != Some(Contrast::BAgainstA) {
            return;
        }
        let source = FeatureId {
            layer: row.source_layer,
            feature: row.source_feature,
        };
        let tally = self.sources.entry(source).or_default();
        tally.role.clone_from(&row.source_role);
        tally.tested += 1;
        tally.nominal += u64::from(row.p < 0.05);
        let significant = row.q.is_some_and(|q| self.alpha.is_some_and(|alpha| q < alpha));
        if !significant {
            return;
        }
        tally.significant += 1;
        self.significant += 1;
        self.beyond_controls += u64::from(self.is_beyond_controls(&row) == Some(true));
        self.edges.push(row);
        if self.edges.len() >= 4 * KEPT_EDGES {
            self.prune(swept);
        }
    }

    /// Whether an edge lies beyond the random sources’ edges into the same layer; `None` if there are none or no limit is known.
    pub fn is_beyond_controls(&self, edge: &PathwayRow) -> Option<bool> {
        Some(edge.control_percentile? >= self.control_percentile?)
    }

    /// Drops all but the strongest edges; edges to features of the sweep stay longest.
    pub fn prune(&mut self, swept: &BTreeSet<FeatureId>) {
        let within = |edge: &PathwayRow| {
            swept.contains(&FeatureId {
                layer: edge.target_layer,
                feature: edge.target_feature,
            })
        };
        let names = |edge: &PathwayRow| {
            (
                edge.source_layer,
                edge.source_feature,
                edge.target_layer,
                edge.target_feature,
            )
        };
        self.edges.sort_by(|one, other| {
            within(other)
                .cmp(&within(one))
                .then(edge_strength(other).total_cmp(&edge_strength(one)))
                .then(names(one).cmp(&names(other)))
        });
        self.edges.truncate(KEPT_EDGES);
        self.edges.sort_by(|one, other| {
            edge_strength(other)
                .total_cmp(&edge_strength(one))
                .then(names(one).cmp(&names(other)))
        });
    }
}

pub(super) fn read_pathways(
    path: &Path,
    alpha: Option<f64>,
    control_percentile: Option<f64>,
    swept: &[FeatureId],
) -> Result<PathwayData, ReportError> {
    let swept: BTreeSet<FeatureId> = swept.iter().copied().collect();
    let mut data = PathwayData {
        alpha,
        control_percentile,
        ..PathwayData::default()
    };
    for batch in TableReader::<PathwayRow>::open(path)? {
        batch?.into_iter().for_each(|row| data.add(row, &swept));
    }
    data.prune(&swept);
    Ok(data)
}
