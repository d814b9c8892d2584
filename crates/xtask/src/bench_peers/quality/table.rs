//! The comparison as a table.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use glassbox_training::HeldOutFigures;

use crate::bench_peers::quality::dictionaries::{Architecture, Program, RunOutcome};
use crate::bench_peers::quality::subject::Subject;
use crate::marked_place;

/// One program on one layer: means over seeds.
#[derive(Clone, Debug)]
pub struct Line {
    subject: &'static str,
    layer: u32,
    architecture: Architecture,
    program: Program,
    explained_variance: f64,
    /// Lowest and highest of the seeds.
    range: (f64, f64),
    l0_as_trained: f64,
    explained_variance_as_trained: f64,
    l0: f64,
    silent_share: f64,
}

impl Line {
    /// The means of some runs.
    pub fn new(
        subject: &Subject,
        layer: u32,
        architecture: Architecture,
        program: Program,
        outcomes: &[RunOutcome],
    ) -> Self {
        let count = outcomes.len().max(1) as f64;
        let mean = |value: &dyn Fn(&RunOutcome) -> f64| outcomes.iter().map(value).sum::<f64>() / count;
        let variances = || outcomes.iter().map(|run| run.at_equal_l0.explained_variance);
        let equal = |value: fn(&HeldOutFigures) -> f64| mean(&|run: &RunOutcome| value(&run.at_equal_l0));
        Self {
            subject: subject.name,
            layer,
            architecture,
            program,
            explained_variance: equal(|figures| figures.explained_variance),
            range: (
                variances().fold(f64::INFINITY, f64::min),
                variances().fold(f64::NEG_INFINITY, f64::max),
            ),
            l0_as_trained: mean(&|run| run.trained.l0),
            explained_variance_as_trained: mean(&|run| run.trained.explained_variance),
            l0: equal(|figures| figures.l0),
            silent_share: equal(|figures| figures.silent_share),
        }
    }

    /// In one line.
    pub fn text(&self) -> String {
        format!(
            "{} L{} {} {}: EV {:.4} [{:.4}, {:.4}] at L0 {:.2} (trained {:.4} at {:.2}), dead {:.2} %",
            self.subject,
            self.layer,
            self.architecture.name(),
            self.program.name(),
            self.explained_variance,
            self.range.0,
            self.range.1,
            self.l0,
            self.explained_variance_as_trained,
            self.l0_as_trained,
            100.0 * self.silent_share
        )
    }
}

/// How far below a peer's the explained variance may be.
const MARGIN: f64 = 0.005;

/// What glassbox's line says beside those of the peers: is its explained variance at most [`MARGIN`] below each of theirs, and
/// is its share of dead features no higher than any of theirs? `None` for a peer's line, and without peers.
fn verdict(line: &Line, lines: &[Line]) -> Option<(bool, bool)> {
    if line.program != Program::Glassbox {
        return None;
    }
    let same = |peer: &&Line| {
        peer.program != Program::Glassbox
            && (peer.subject, peer.layer, peer.architecture) == (line.subject, line.layer, line.architecture)
    };
    let mut peers = lines.iter().filter(same).peekable();
    peers.peek()?;
    Some(peers.fold((true, true), |(near, alive), peer| {
        (
            near && line.explained_variance >= peer.explained_variance - MARGIN,
            alive && line.silent_share <= peer.silent_share,
        )
    }))
}

/// Whether glassbox's line reaches both targets wherever there are peers.
pub fn all_reached(lines: &[Line]) -> bool {
    let mut verdicts = lines.iter().filter_map(|line| verdict(line, lines));
    verdicts.all(|reached| reached == (true, true))
}

/// The table.
pub fn markdown(lines: &[Line]) -> String {
    let mut text = String::from(
        "| activations | rule | program | EV | lowest to highest seed | L0 | EV as trained | L0 as trained | dead, % | \
         EV within 0.005 of both peers | no more dead than either |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let word = |reached: bool| if reached { "yes" } else { "no" };
    for line in lines {
        let reached = verdict(line, lines);
        let near = reached.map_or("", |(near, _)| word(near));
        let alive = reached.map_or("", |(_, alive)| word(alive));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {}, layer {} | {} | {} | {:.4} | {:.4} to {:.4} | {:.2} | {:.4} | {:.2} | {:.2} | {near} | {alive} |",
            line.subject,
            line.layer,
            line.architecture.name(),
            line.program.name(),
            line.explained_variance,
            line.range.0,
            line.range.1,
            line.l0,
            line.explained_variance_as_trained,
            line.l0_as_trained,
            100.0 * line.silent_share
        );
    }
    text
}

/// Puts the table into its marked place.
///
/// # Errors
/// If the file has no such place, or can't be written.
pub fn put_into(file: &Path, lines: &[Line]) -> Result<()> {
    marked_place::fill(file, "bench-peers quality", &markdown(lines))
}
