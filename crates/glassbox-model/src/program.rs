//! Row programs made ready to run: checked against the model before anything is computed, then applied site by
//! site with every firing counted.

use std::collections::HashMap;
use std::ops::Range;

use glassbox_kernels::{Backend, KernelError};
use thiserror::Error;

use crate::config::ModelConfig;
use crate::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use crate::forward::PassLayout;
use crate::gradient::EditLog;
use crate::site::{Site, SiteAxes, SiteError};

/// A row program that can't be run, or that did not do what it says.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// The model has no such site.
    #[error("intervention {intervention}: {source}")]
    Site {
        /// Index in the program.
        intervention: usize,
        /// What is wrong with the site.
        source: SiteError,
    },
    /// The site is not part of the passes that are to run.
    #[error("{intervention}: the site is not computed, the pass runs {computed}")]
    NotComputed {
        /// The intervention.
        intervention: String,
        /// What the pass computes.
        computed: String,
    },
    /// The edit was compiled for another width.
    #[error("{intervention}: the edit is made for rows of {found} values, rows of this site have {expected}")]
    Width {
        /// The intervention.
        intervention: String,
        /// Width of the edit.
        found: usize,
        /// Width of the site's rows.
        expected: usize,
    },
    /// Heads that don't exist.
    #[error("{intervention}: {reason}")]
    Heads {
        /// The intervention.
        intervention: String,
        /// What is wrong with the heads.
        reason: String,
    },
    /// A batch row that doesn't exist.
    #[error("{intervention}: the batch has rows 0 to {}", batch.saturating_sub(1))]
    BatchRow {
        /// The intervention.
        intervention: String,
        /// Rows of the batch.
        batch: usize,
    },
    /// A position that no row reaches.
    #[error("{intervention}: {what} is never computed in the rows that it names; {reach}")]
    Unreachable {
        /// The intervention.
        intervention: String,
        /// The position or positions.
        what: String,
        /// Which positions are computed.
        reach: String,
    },
    /// The positions include some that were computed before, without the edit.
    #[error(
        "{intervention}: its positions include the shared prefix, which was computed without it; \
         run without a shared prefix, or edit the last prompt position and generated ones only"
    )]
    SharedPrefix {
        /// The intervention.
        intervention: String,
    },
    /// The run is over and the intervention changed nothing.
    #[error(
        "{intervention} never fired: no row reached one of its positions. A result without it would be false; \
         choose positions that the rows reach"
    )]
    NeverFired {
        /// The intervention.
        intervention: String,
    },
    /// The edit failed.
    #[error("{intervention}: {source}")]
    Edit {
        /// The intervention.
        intervention: String,
        /// The backend's error.
        source: KernelError,
    },
}

/// What a run will compute; a program is checked against it.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Blocks that are computed.
    pub(crate) layers: Range<usize>,
    /// Whether the embedding is computed.
    pub(crate) embedding: bool,
    /// Whether the final norm is computed.
    pub(crate) head: bool,
    /// Positions of each row that are computed, or may be.
    pub(crate) positions: Vec<Range<u32>>,
    /// Prompt tokens of each row.
    pub(crate) prompt_lengths: Vec<u32>,
}

impl Reach {
    pub(crate) fn computes(&self, site: Site) -> bool {
        match site {
            Site::Embed | Site::PosEmbed => self.embedding,
            Site::NormScale(norm) | Site::NormNormalized(norm) if norm.layer().is_none() => self.head,
            site => site.layer().is_some_and(|l| self.layers.contains(&(l as usize))),
        }
    }

    /// What is computed, for messages.
    pub(crate) fn describe(&self) -> String {
        let blocks = if self.layers.is_empty() {
            "no blocks".to_owned()
        } else {
            format!("blocks {} to {}", self.layers.start, self.layers.end - 1)
        };
        let before = if self.embedding { "the embedding, " } else { "" };
        let after = if self.head { " and the final norm" } else { "" };
        format!("{before}{blocks}{after}")
    }
}

/// A program in the course of a run: what it holds, where, and how often it fired.
#[derive(Debug)]
pub(crate) struct ProgramRun<B: Backend> {
    interventions: Vec<RowIntervention<B>>,
    by_site: HashMap<Site, SiteInterventions>,
    fired: Vec<u64>,
    /// Those of the site and the rows at hand, each with the one batch row it is for, if it is for one.
    acting: Vec<(usize, Option<usize>)>,
    rows: Vec<u32>,
}

/// Interventions of one site, as indices in the program.
#[derive(Debug, Default)]
struct SiteInterventions {
    /// For all rows.
    all: Vec<usize>,
    /// For one row, by its number.
    one: HashMap<u32, Vec<usize>>,
}

impl<B: Backend> ProgramRun<B> {
    /// Checks a program against the model and against what will be computed.
    pub(crate) fn compile(
        program: &RowProgram<B>,
        config: &ModelConfig,
        reach: &Reach,
    ) -> Result<Self, ProgramError> {
        let mut by_site: HashMap<Site, SiteInterventions> = HashMap::new();
        for (index, intervention) in program.interventions.iter().enumerate() {
            check(index, intervention, config, reach)?;
            let of_site = by_site.entry(intervention.site).or_default();
            match intervention.rows {
                BatchRows::All => of_site.all.push(index),
                BatchRows::One(row) => of_site.one.entry(row).or_default().push(index),
            }
        }
        Ok(Self {
            interventions: program.interventions.clone(),
            by_site,
            fired: vec![0; program.interventions.len()],
            acting: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// `Ok` if every intervention has changed at least one row.
    pub(crate) fn ensure_all_fired(&self) -> Result<(), ProgramError> {
        match self.fired.iter().position(|&count| count == 0) {
            Some(index) => Err(ProgramError::NeverFired {
                intervention: name(index, &self.interventions[index]),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn edits(&self, site: Site) -> bool {
        self.by_site.contains_key(&site)
    }

    /// Applies what the program holds for one site.
    pub(crate) fn apply(
        &mut self,
        backend: &B,
        site: Site,
        axes: SiteAxes,
        layout: &PassLayout,
        x: &mut B::Buffer,
        mut log: Option<&mut EditLog<B>>,
    ) -> Result<(), ProgramError> {
        let Some(of_site) = self.by_site.get(&site) else {
            return Ok(());
        };
        self.acting.clear();
        self.acting.extend(of_site.all.iter().map(|&index| (index, None)));
        for row in 0..layout.batch() {
            let of_row = of_site.one.get(&layout.row_id(row)).into_iter().flatten();
            self.acting.extend(of_row.map(|&index| (index, Some(row))));
        }
        self.acting.sort_unstable();
        for &(index, row) in &self.acting {
            let intervention = &self.interventions[index];
            let rows = row.map_or(0..layout.batch(), |row| row..row + 1);
            touched_rows(intervention, rows, axes, layout, &mut self.rows);
            if self.rows.is_empty() {
                continue;
            }
            let place = || name(index, intervention);
            let found_width = axes
                .edit_width(intervention.heads.is_some())
                .unwrap_or_else(|| layout.keys());
            if let Some(width) = intervention.edit.width()
                && width != found_width
            {
                return Err(ProgramError::Width {
                    intervention: place(),
                    found: width,
                    expected: found_width,
                });
            }
            let failed = |source| ProgramError::Edit {
                intervention: place(),
                source,
            };
            if let Some(log) = log.as_deref_mut() {
                let len = axes.len(layout.batch(), layout.queries(), layout.keys());
                log.before(backend, site, x, len, &intervention.edit, found_width, &self.rows)
                    .map_err(failed)?;
            }
            intervention
                .edit
                .apply(backend, x, found_width, &self.rows)
                .map_err(failed)?;
            self.fired[index] += self.rows.len() as u64;
        }
        Ok(())
    }
}

/// "intervention 3 (`blocks.1.hook_resid_post`, row 5, all positions)".
fn name<B: Backend>(index: usize, intervention: &RowIntervention<B>) -> String {
    let rows = match intervention.rows {
        BatchRows::All => "all rows".to_owned(),
        BatchRows::One(row) => format!("row {row}"),
    };
    let positions = match &intervention.positions {
        Positions::All => "all positions".to_owned(),
        Positions::Absolute(list) => format!("positions {list:?}"),
        Positions::LastOfPrompt => "last prompt position".to_owned(),
        Positions::Generated => "generated positions".to_owned(),
        Positions::LastAndGenerated => "last prompt position and generated ones".to_owned(),
    };
    format!(
        "intervention {index} (`{}`, {rows}, {positions})",
        intervention.site
    )
}

fn check<B: Backend>(
    index: usize,
    intervention: &RowIntervention<B>,
    config: &ModelConfig,
    reach: &Reach,
) -> Result<(), ProgramError> {
    let site = intervention.site;
    site.check(config).map_err(|source| ProgramError::Site {
        intervention: index,
        source,
    })?;
    let place = || name(index, intervention);
    if !reach.computes(site) {
        return Err(ProgramError::NotComputed {
            intervention: place(),
            computed: reach.describe(),
        });
    }
    let axes = site.axes(config);
    if let (Some(found), Some(expected)) = (
        intervention.edit.width(),
        axes.edit_width(intervention.heads.is_some()),
    ) && found != expected
    {
        return Err(ProgramError::Width {
            intervention: place(),
            found,
            expected,
        });
    }
    if let Some(heads) = &intervention.heads {
        let refuse = |reason: String| {
            Err(ProgramError::Heads {
                intervention: place(),
                reason,
            })
        };
        let Some(count) = axes.heads() else {
            return refuse("it names heads, and the site has no head axis".to_owned());
        };
        if heads.is_empty() {
            return refuse(format!(
                "its list of heads is empty, valid heads are 0 to {}",
                count - 1
            ));
        }
        if let Some(head) = heads.iter().find(|&&head| head as usize >= count) {
            return refuse(format!(
                "head {head} does not exist, valid heads are 0 to {}",
                count - 1
            ));
        }
        if let Some(head) = heads
            .iter()
            .enumerate()
            .find(|(i, head)| heads[..*i].contains(head))
        {
            return refuse(format!("head {} is listed twice", head.1));
        }
    }
    check_positions(intervention, reach, &place)
}

fn check_positions<B: Backend>(
    intervention: &RowIntervention<B>,
    reach: &Reach,
    place: &dyn Fn() -> String,
) -> Result<(), ProgramError> {
    let batch = reach.positions.len();
    let rows = match intervention.rows {
        BatchRows::All => 0..batch,
        BatchRows::One(row) if (row as usize) < batch => row as usize..row as usize + 1,
        BatchRows::One(_) => {
            return Err(ProgramError::BatchRow {
                intervention: place(),
                batch,
            });
        }
    };
    let unreachable = |what: String| {
        let first = reach.positions[rows.clone()]
            .iter()
            .map(|range| range.start)
            .min()
            .unwrap_or(0);
        let end = reach.positions[rows.clone()]
            .iter()
            .map(|range| range.end)
            .max()
            .unwrap_or(0);
        let reach = if first < end {
            format!("they compute positions {first} to {}", end - 1)
        } else {
            "they compute no positions".to_owned()
        };
        Err(ProgramError::Unreachable {
            intervention: place(),
            what,
            reach,
        })
    };
    let reached = |position: &dyn Fn(usize) -> Range<u32>| {
        rows.clone().any(|row| {
            let wanted = position(row);
            let computed = &reach.positions[row];
            wanted.start.max(computed.start) < wanted.end.min(computed.end)
        })
    };
    let length = |row: usize| reach.prompt_lengths[row];
    match &intervention.positions {
        Positions::All if !reached(&|_| 0..u32::MAX) => unreachable("any position".to_owned()),
        Positions::Absolute(list) if list.is_empty() => unreachable("an empty list of positions".to_owned()),
        Positions::Absolute(list) => {
            match list
                .iter()
                .find(|&&position| !reached(&|_| position..position.saturating_add(1)))
            {
                Some(position) => unreachable(format!("position {position}")),
                None => Ok(()),
            }
        }
        Positions::LastOfPrompt if !reached(&|row| length(row).saturating_sub(1)..length(row)) => {
            unreachable("the last prompt position".to_owned())
        }
        Positions::Generated if !reached(&|row| length(row)..u32::MAX) => {
            unreachable("a generated position".to_owned())
        }
        Positions::LastAndGenerated if !reached(&|row| length(row).saturating_sub(1)..u32::MAX) => {
            unreachable("the last prompt position or a generated one".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses interventions on positions that lie in an already computed prefix of each row.
pub(crate) fn refuse_prefix_edits<B: Backend>(
    program: &RowProgram<B>,
    prefix_lengths: &[u32],
) -> Result<(), ProgramError> {
    for (index, intervention) in program.interventions.iter().enumerate() {
        let prefix = |row: usize| prefix_lengths.get(row).copied().unwrap_or(0);
        let longest = match intervention.rows {
            BatchRows::All => (0..prefix_lengths.len()).map(prefix).max().unwrap_or(0),
            BatchRows::One(row) => prefix(row as usize),
        };
        let touches = match &intervention.positions {
            Positions::All => longest > 0,
            Positions::Absolute(list) => list.iter().any(|&position| position < longest),
            Positions::LastOfPrompt | Positions::Generated | Positions::LastAndGenerated => false,
        };
        if touches {
            return Err(ProgramError::SharedPrefix {
                intervention: name(index, intervention),
            });
        }
    }
    Ok(())
}

/// The rows of a site's buffer that an intervention touches in this pass, among those of these batch rows.
fn touched_rows<B: Backend>(
    intervention: &RowIntervention<B>,
    batch_rows: Range<usize>,
    axes: SiteAxes,
    layout: &PassLayout,
    rows: &mut Vec<u32>,
) {
    rows.clear();
    for row in batch_rows {
        for query in 0..layout.queries() {
            let Some(position) = layout.position(row, query) else {
                continue;
            };
            let prompt = layout.prompt_length(row);
            let touched = match &intervention.positions {
                Positions::All => true,
                Positions::Absolute(list) => list.contains(&position),
                Positions::LastOfPrompt => position + 1 == prompt,
                Positions::Generated => position >= prompt,
                Positions::LastAndGenerated => position + 1 >= prompt,
            };
            if touched {
                push_rows(axes, intervention.heads.as_deref(), layout, row, query, rows);
            }
        }
    }
}

fn push_rows(
    axes: SiteAxes,
    heads: Option<&[u32]>,
    layout: &PassLayout,
    row: usize,
    query: usize,
    into: &mut Vec<u32>,
) {
    let place = (row * layout.queries() + query) as u32;
    match (axes, heads) {
        (SiteAxes::Rows { .. } | SiteAxes::Heads { .. }, None) | (SiteAxes::Rows { .. }, Some(_)) => {
            into.push(place);
        }
        (SiteAxes::Heads { heads: count, .. }, Some(heads)) => {
            into.extend(heads.iter().map(|head| place * count as u32 + head));
        }
        (SiteAxes::Attention { heads: count }, heads) => {
            let at = |head: u32| (row as u32 * count as u32 + head) * layout.queries() as u32 + query as u32;
            match heads {
                Some(heads) => into.extend(heads.iter().map(|&head| at(head))),
                None => into.extend((0..count as u32).map(at)),
            }
        }
    }
}
