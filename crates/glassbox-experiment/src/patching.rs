//! Activation patching over layers and positions: which activation of a clean run, put into a corrupted run, brings the
//! clean answer back (Vig et al. 2020; Meng et al. 2022; "causal tracing", "denoising").
//!
//! For clean and corrupted prompts of equal length, cell (layer L, position p) is a metric of the last position's
//! logits in the corrupted run, after the activation of the clean run has been put in at (L, p): what TransformerLens's
//! `get_act_patch_resid_pre` and its siblings give.
//!
//! A cell costs what the patch can change, and no more:
//! - Blocks before the patch and positions before it are the corrupted run's, so a cell starts at its own layer with the
//!   recorded residuals, computes positions p to the end, and reads the corrupted run's keys and values for the rest.
//! - A patch in the middle or at the end of block L changes nothing but position p until block L + 1, where it is a
//!   patch of the residual stream: every site is one of those.
//! - A patch that equals what it replaces, bit for bit, leaves the corrupted run as it is: positions before the prompts'
//!   first difference cost nothing.
//! - Cells of one or several positions share a batch; a cell joins it at its layer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use glassbox_kernels::Backend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::Set;
use glassbox_model::forward::{ForwardRequest, LogitPositions, Residual, Start, Workspace};
use glassbox_model::model::Model;
use glassbox_model::record::Recording;
use glassbox_model::site::Site;

use crate::error::ExperimentError;
use crate::events::{Event, Reporter};

/// Positions, over all rows, of one batch of cells. More positions fill the processor's matrix products better and cost
/// memory and, where cells of several prompt positions share a batch, positions that are computed for nothing.
const BATCH_POSITIONS: usize = 768;

/// Name of the stage in events and errors.
const STAGE: &str = "patch";

/// What a cell patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PatchSite {
    /// `blocks.{l}.hook_resid_pre`.
    ResidPre,
    /// `blocks.{l}.hook_resid_mid`.
    ResidMid,
    /// `blocks.{l}.hook_attn_out`.
    AttentionOut,
    /// `blocks.{l}.hook_mlp_out`.
    MlpOut,
}

impl PatchSite {
    /// Every site.
    pub const ALL: [Self; 4] = [Self::ResidPre, Self::ResidMid, Self::AttentionOut, Self::MlpOut];

    /// The name in tables and flags, as in TransformerLens's `get_act_patch_{name}`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "resid_pre",
            Self::ResidMid => "resid_mid",
            Self::AttentionOut => "attn_out",
            Self::MlpOut => "mlp_out",
        }
    }

    /// The site with this name.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownName`] with the valid names.
    pub fn from_name(name: &str) -> Result<Self, ExperimentError> {
        Self::ALL
            .into_iter()
            .find(|site| site.name() == name)
            .ok_or_else(|| ExperimentError::UnknownName {
                what: "patch site",
                name: name.to_owned(),
                valid: Self::ALL.iter().map(|site| site.name().to_owned()).collect(),
            })
    }

    /// The site of a block.
    pub fn at(self, layer: u32) -> Site {
        match self {
            Self::ResidPre => Site::ResidPre(layer),
            Self::ResidMid => Site::ResidMid(layer),
            Self::AttentionOut => Site::AttentionOut(layer),
            Self::MlpOut => Site::MlpOut(layer),
        }
    }
}

/// The metric of every cell.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchGrid {
    /// Blocks of the model.
    pub layers: usize,
    /// Tokens of the prompts.
    pub positions: usize,
    /// The metric of the clean run.
    pub clean: f64,
    /// The metric of the corrupted run.
    pub corrupted: f64,
    /// The metric after each patch, [layers, positions], by site.
    pub sites: BTreeMap<PatchSite, Vec<f64>>,
    /// Cells that had to be computed; the others equal the corrupted run.
    pub computed: u64,
}

impl PatchGrid {
    /// The metric of one cell.
    pub fn cell(&self, site: PatchSite, layer: usize, position: usize) -> Option<f64> {
        if position >= self.positions {
            return None;
        }
        self.sites
            .get(&site)?
            .get(layer * self.positions + position)
            .copied()
    }

    /// (value − corrupted) / (clean − corrupted): 0 where the patch does nothing, 1 where it brings the clean metric back.
    /// Missing where the two runs do not differ.
    pub fn recovered(&self, value: f64) -> Option<f64> {
        let whole = self.clean - self.corrupted;
        (whole != 0.0).then(|| (value - self.corrupted) / whole)
    }
}

/// Patches every cell of the given sites, one after the other into the corrupted run.
///
/// `metric` reads the logits [vocab] of the last position. Token ids include the beginning-of-sequence token.
///
/// # Errors
/// [`ExperimentError::Data`] for prompts of unequal length or equal content; those of the model;
/// [`ExperimentError::Interrupted`] if the reporter asks for a stop.
pub fn patch_grid<B: Backend>(
    model: &Model<B>,
    clean: &[u32],
    corrupted: &[u32],
    sites: &[PatchSite],
    metric: &dyn Fn(&[f32]) -> f64,
    reporter: &dyn Reporter,
) -> Result<PatchGrid, ExperimentError> {
    check_prompts(clean, corrupted)?;
    let since = Instant::now();
    let mut workspace = model.workspace();
    let (run, logits) = CorruptedRun::record(model, &mut workspace, corrupted)?;
    let (layers, positions) = (model.config().n_layers, corrupted.len());
    let mut grid = PatchGrid {
        layers,
        positions,
        clean: 0.0,
        corrupted: metric(&logits),
        sites: BTreeMap::new(),
        computed: 0,
    };
    reporter.report(Event::StageStarted {
        stage: STAGE,
        unit: "cells",
        total: (sites.len() * layers * positions) as u64,
        done: 0,
    });
    let total = (sites.len() * layers * positions) as u64;
    let mut done = 0;
    for &site in sites {
        let wanted: Vec<Site> = (0..layers as u32).map(|layer| site.at(layer)).collect();
        let (recording, _, logits) = record(model, &mut workspace, clean, &wanted)?;
        grid.clean = metric(&logits);
        let patches = run.patches(&mut workspace, site, &recording)?;
        let mut values = vec![grid.corrupted; layers * positions];
        grid.computed += patches.len() as u64;
        let unchanged = (values.len() - patches.len()) as u64;
        done += unchanged;
        advance(reporter, unchanged);
        for batch in batches(patches, positions) {
            if reporter.should_stop() {
                return Err(ExperimentError::Interrupted {
                    stage: STAGE,
                    done,
                    total,
                });
            }
            for (patch, value) in batch.iter().zip(run.metrics(&mut workspace, &batch, metric)?) {
                values[patch.cell] = value;
            }
            done += batch.len() as u64;
            advance(reporter, batch.len() as u64);
        }
        grid.sites.insert(site, values);
    }
    reporter.report(Event::StageFinished {
        stage: STAGE,
        summary: format!("{} cells computed", grid.computed),
        seconds: since.elapsed().as_secs_f64(),
    });
    Ok(grid)
}

fn advance(reporter: &dyn Reporter, units: u64) {
    reporter.report(Event::Advanced {
        stage: STAGE,
        units,
        tokens: 0,
    });
}

fn check_prompts(clean: &[u32], corrupted: &[u32]) -> Result<(), ExperimentError> {
    let refuse = |what: String| Err(ExperimentError::Data { stage: STAGE, what });
    if clean.len() != corrupted.len() {
        return refuse(format!(
            "the clean prompt has {} tokens and the corrupted one {}; patching puts position p of one into position p of the \
             other, so give prompts that differ in words of equally many tokens",
            clean.len(),
            corrupted.len()
        ));
    }
    if clean == corrupted {
        return refuse("the two prompts have the same tokens, so that no patch can change anything".into());
    }
    Ok(())
}

/// One replacement of one position of the input of a block (or of the final norm, for `layer` = number of blocks).
#[derive(Clone, Debug)]
struct Patch {
    /// Place in the grid: layer · positions + position of the site that is patched.
    cell: usize,
    /// First block that the patch changes.
    layer: usize,
    position: usize,
    /// [d_model].
    value: Vec<f32>,
}

/// Patches that are computed together, each by rising layer. Few positions share a batch, as a row begins at the first
/// position of its batch.
fn batches(mut patches: Vec<Patch>, length: usize) -> Vec<Vec<Patch>> {
    patches.sort_by_key(|patch| (patch.position, patch.layer));
    let mut batches: Vec<Vec<Patch>> = Vec::new();
    let mut of_position = patches.into_iter().peekable();
    while let Some(first) = of_position.next() {
        let position = first.position;
        let mut same = vec![first];
        while let Some(next) = of_position.next_if(|next| next.position == position) {
            same.push(next);
        }
        if let Some(last) = batches.last_mut()
            && (last.len() + same.len()) * (length - last[0].position) <= BATCH_POSITIONS
        {
            last.append(&mut same);
            continue;
        }
        let rows = (BATCH_POSITIONS / (length - position)).max(1);
        batches.extend(same.chunks(rows).map(<[Patch]>::to_vec));
    }
    for batch in &mut batches {
        // A stable sort: the first entry keeps the lowest position of the lowest layer.
        batch.sort_by_key(|patch| patch.layer);
    }
    batches
}

/// The run that patches are put into.
struct CorruptedRun<'m, B: Backend> {
    model: &'m Model<B>,
    tokens: Vec<u32>,
    /// Input of each block, and of the final norm: [blocks + 1] of [positions, d_model].
    residuals: Vec<Vec<f32>>,
    cache: KvCache<B>,
}

/// A pass over one prompt with these sites recorded; its keys and values, and the logits of its last position.
fn record<B: Backend>(
    model: &Model<B>,
    workspace: &mut Workspace<B>,
    tokens: &[u32],
    sites: &[Site],
) -> Result<(Recording, KvCache<B>, Vec<f32>), ExperimentError> {
    let batch = TokenBatch::from_row(tokens)?;
    let mut cache = KvCache::new(model.backend(), model.config(), 1, tokens.len());
    let request = ForwardRequest::new(&batch).record(sites).cache(&mut cache);
    let output = model.forward(workspace, request)?;
    Ok((output.recording, cache, output.logits.values))
}

fn recorded(recording: &Recording, site: Site) -> Result<&[f32], ExperimentError> {
    recording
        .get(site)
        .map(|recorded| recorded.values.as_slice())
        .ok_or_else(|| ExperimentError::Data {
            stage: STAGE,
            what: format!("{site} was not recorded"),
        })
}

impl<'m, B: Backend> CorruptedRun<'m, B> {
    fn record(
        model: &'m Model<B>,
        workspace: &mut Workspace<B>,
        tokens: &[u32],
    ) -> Result<(Self, Vec<f32>), ExperimentError> {
        let layers = model.config().n_layers as u32;
        let mut sites: Vec<Site> = (0..layers).map(Site::ResidPre).collect();
        sites.push(Site::ResidPost(layers.saturating_sub(1)));
        let (recording, cache, logits) = record(model, workspace, tokens, &sites)?;
        let residuals = sites
            .iter()
            .map(|&site| Ok(recorded(&recording, site)?.to_vec()))
            .collect::<Result<_, ExperimentError>>()?;
        let run = Self {
            model,
            tokens: tokens.to_vec(),
            residuals,
            cache,
        };
        Ok((run, logits))
    }

    fn width(&self) -> usize {
        self.model.config().d_model
    }

    /// The patches of a site that change anything, as patches of a block's input.
    fn patches(
        &self,
        workspace: &mut Workspace<B>,
        site: PatchSite,
        clean: &Recording,
    ) -> Result<Vec<Patch>, ExperimentError> {
        let (positions, width) = (self.tokens.len(), self.width());
        let blocks = self.model.config().n_layers;
        let mut patches = Vec::new();
        for l in 0..blocks {
            let values = recorded(clean, site.at(l as u32))?;
            let (layer, replaced) = match site {
                PatchSite::ResidPre => (l, values.to_vec()),
                PatchSite::ResidMid | PatchSite::AttentionOut | PatchSite::MlpOut => {
                    (l + 1, self.through_mlp(workspace, l, site.at(l as u32), values)?)
                }
            };
            for (position, (value, before)) in replaced
                .chunks_exact(width)
                .zip(self.residuals[layer].chunks_exact(width))
                .enumerate()
            {
                // Only the last position is read after the last block.
                let is_read = layer < blocks || position + 1 == positions;
                if is_read && value != before {
                    patches.push(Patch {
                        cell: l * positions + position,
                        layer,
                        position,
                        value: value.to_vec(),
                    });
                }
            }
        }
        Ok(patches)
    }

    /// The output of block `l` when a site after its attention is set to these values [positions, d_model]. What follows
    /// attention in a block treats every position by itself, so one pass serves all positions.
    fn through_mlp(
        &self,
        workspace: &mut Workspace<B>,
        l: usize,
        site: Site,
        values: &[f32],
    ) -> Result<Vec<f32>, ExperimentError> {
        let backend = self.model.backend();
        let program = RowProgram {
            interventions: vec![RowIntervention {
                rows: BatchRows::All,
                site,
                positions: Positions::All,
                heads: None,
                edit: Arc::new(Set::rows(backend, values, self.width())?),
            }],
        };
        let batch = TokenBatch::from_row(&self.tokens)?;
        let request = ForwardRequest::new(&batch)
            .start(Start::Layer {
                layer: l as u32,
                residual: Residual::Host(&self.residuals[l]),
            })
            .stop_after_layer(l as u32)
            .program(&program);
        self.model.forward_on_device(workspace, request)?;
        let mut output = vec![0.0; values.len()];
        backend.read(workspace.resid(), 0, &mut output)?;
        Ok(output)
    }

    /// The metric after each patch of a batch. A row begins at its patch's layer, and at the batch's first position.
    fn metrics(
        &self,
        workspace: &mut Workspace<B>,
        batch: &[Patch],
        metric: &dyn Fn(&[f32]) -> f64,
    ) -> Result<Vec<f64>, ExperimentError> {
        let (backend, width) = (self.model.backend(), self.width());
        let blocks = self.model.config().n_layers;
        let first = batch.iter().map(|patch| patch.position).min().unwrap_or_default();
        let queries = self.tokens.len() - first;
        let row = queries * width;
        let mut resid = backend.zeros(batch.len() * row);
        let mut active = 0;
        for layer in 0..=blocks {
            for patch in batch[active..].iter().take_while(|patch| patch.layer == layer) {
                let mut values = self.residuals[layer][first * width..].to_vec();
                let at = (patch.position - first) * width;
                values[at..at + width].copy_from_slice(&patch.value);
                backend.write(&mut resid, active * row, &values)?;
                active += 1;
            }
            if active == 0 || layer == blocks {
                continue;
            }
            let tokens = TokenBatch::from_rows(&vec![&self.tokens[first..]; active])?;
            let mut past = match first {
                0 => None,
                _ => Some(self.cache.fork_part(
                    &vec![0; active],
                    layer..layer + 1,
                    first,
                    self.tokens.len(),
                )?),
            };
            let mut request = ForwardRequest::new(&tokens)
                .start(Start::Layer {
                    layer: layer as u32,
                    residual: Residual::Device(&resid),
                })
                .stop_after_layer(layer as u32);
            if let Some(past) = &mut past {
                request = request.cache(past);
            }
            self.model.forward_on_device(workspace, request)?;
            backend.copy(workspace.resid(), active * row, &mut resid)?;
        }
        let last: Vec<u32> = (1..=active).map(|rows| (rows * queries - 1) as u32).collect();
        let mut ends = backend.zeros(active * width);
        backend.gather_rows(&resid, width, &last, &mut ends)?;
        let tokens = TokenBatch::from_rows(&vec![[TokenBatch::PADDING]; active])?;
        let request = ForwardRequest::new(&tokens)
            .start(Start::Layer {
                layer: blocks as u32,
                residual: Residual::Device(&ends),
            })
            .logits(LogitPositions::Last);
        let logits = self.model.forward(workspace, request)?.logits;
        Ok((0..active).map(|i| metric(logits.row(i))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(layer: usize, position: usize) -> Patch {
        Patch {
            cell: 0,
            layer,
            position,
            value: Vec::new(),
        }
    }

    #[test]
    fn batches_hold_every_patch_once_by_rising_layer_and_stay_small() {
        for (layers, length) in [(12, 40), (2, 3), (32, 1000), (1, 1)] {
            let patches: Vec<Patch> = (0..layers)
                .flat_map(|layer| (0..length).map(move |position| patch(layer, position)))
                .collect();
            let batches = batches(patches, length);
            let mut seen = std::collections::BTreeSet::new();
            for batch in &batches {
                let first = batch.iter().map(|patch| patch.position).min().unwrap();
                assert!(batch.len() == 1 || batch.len() * (length - first) <= BATCH_POSITIONS);
                assert!(batch.is_sorted_by_key(|patch| patch.layer));
                for patch in batch {
                    assert!(seen.insert((patch.layer, patch.position)));
                }
            }
            assert_eq!(seen.len(), layers * length);
        }
    }

    #[test]
    fn sites_go_by_their_names() {
        for site in PatchSite::ALL {
            assert_eq!(PatchSite::from_name(site.name()).unwrap(), site);
        }
        let message = PatchSite::from_name("resid").unwrap_err().to_string();
        assert!(
            message.contains("resid_pre") && message.contains("mlp_out"),
            "{message}"
        );
    }
}
