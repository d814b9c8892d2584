//! Problems of rows, counted by file and kind: millions of them fit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::{ProblemKind, ReadReport, RowProblem};

/// Examples kept of one kind of problem in one file.
const KEPT: usize = 3;

/// Problems of one kind in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemCount {
    /// The file.
    pub path: PathBuf,
    /// The kind.
    pub kind: ProblemKind,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<RowProblem>,
}

#[derive(Debug, Default)]
pub(crate) struct ProblemTally {
    counts: BTreeMap<(u32, ProblemKind), (u64, Vec<RowProblem>)>,
}

impl ProblemTally {
    pub(crate) fn new(problems: &[RowProblem]) -> Self {
        let mut tally = Self::default();
        for problem in problems {
            let entry = tally
                .counts
                .entry((problem.place.file, problem.kind))
                .or_default();
            entry.0 += 1;
            if entry.1.len() < KEPT {
                entry.1.push(problem.clone());
            }
        }
        tally
    }

    pub(crate) fn add(&mut self, more: Self) {
        for (key, (count, first)) in more.counts {
            let entry = self.counts.entry(key).or_default();
            entry.0 += count;
            let room = KEPT.saturating_sub(entry.1.len());
            entry.1.extend(first.into_iter().take(room));
        }
    }

    pub(crate) fn counts(self, report: &ReadReport) -> Vec<ProblemCount> {
        self.counts
            .into_iter()
            .map(|((file, kind), (count, first))| ProblemCount {
                path: report
                    .files
                    .get(file as usize)
                    .map(|file| file.path.clone())
                    .unwrap_or_default(),
                kind,
                count,
                first,
            })
            .collect()
    }
}
