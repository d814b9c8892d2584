//! A forward pass that keeps what the way back needs.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use glassbox_kernels::{Backend, KernelError};

use crate::config::PositionKind;
use crate::forward::{
    ForwardOutput, ForwardRequest, Logits, PassExtras, PassLayout, PassProgram, RotaryTables, SiteView,
    SiteVisitor, Start, Workspace,
};
use crate::forward_error::{ForwardError, VisitError};
use crate::gradient::EditLog;
use crate::gradient::buffers::Gradients;
use crate::model::Model;
use crate::site::Site;

/// What a forward pass has kept: enough to compute gradients of any scalar of its values, any number of times.
#[derive(Debug)]
pub struct Tape<'m, B: Backend> {
    pub(super) model: &'m Model<B>,
    pub(super) layout: PassLayout,
    pub(super) layers: Range<usize>,
    /// Whether the pass began with the embedding.
    pub(super) embedding: bool,
    /// Whether the pass ran to the end.
    pub(super) head: bool,
    pub(super) saved: HashMap<Site, B::Buffer>,
    /// Input of the final norm, if the pass ran to the end.
    pub(super) final_input: Option<B::Buffer>,
    pub(super) rotary: Option<RotaryTables<B>>,
    pub(super) edits: EditLog<B>,
    pub(super) gradients: Gradients<B>,
}

impl<B: Backend> Tape<'_, B> {
    /// Rows, slots and positions of the pass.
    #[must_use]
    pub fn layout(&self) -> &PassLayout {
        &self.layout
    }

    /// Bytes that the tape holds on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.saved
            .values()
            .map(|buffer| self.model.backend().len(buffer) * size_of::<f32>())
            .sum()
    }
}

impl<B: Backend> Model<B> {
    /// Runs a pass as [`Model::forward`] does, and keeps what gradients need.
    ///
    /// # Errors
    /// As [`Model::forward`]; [`ForwardError::TapeWithCache`] if the request has a cache, whose past has no tape.
    pub fn forward_with_tape<'m>(
        &'m self,
        workspace: &mut Workspace<B>,
        request: ForwardRequest<'_, B>,
    ) -> Result<(ForwardOutput, Tape<'m, B>), ForwardError> {
        if request.cache.is_some() {
            return Err(ForwardError::TapeWithCache);
        }
        let edited = match &request.program {
            PassProgram::Whole(program) => program.interventions.iter().map(|i| i.site).collect(),
            PassProgram::None | PassProgram::Running(_) => BTreeSet::new(),
        };
        let config = self.config();
        let first = match request.start {
            Start::Embedding => 0,
            Start::Layer { layer, .. } => layer as usize,
        };
        let end = request
            .stop_after
            .map_or(config.n_layers, |layer| layer as usize + 1);
        let (embedding, head) = (
            matches!(request.start, Start::Embedding),
            request.stop_after.is_none(),
        );
        let mut keeper = Keeper {
            rotary: matches!(config.positions, PositionKind::Rotary { .. }),
            edited,
            saved: HashMap::new(),
        };
        let mut edits = EditLog::default();
        let extras = PassExtras {
            visitor: Some(&mut keeper),
            edit_log: Some(&mut edits),
        };
        let recording = self.run_pass(workspace, request, extras)?;
        let layout = workspace.layout();
        let final_input = if head {
            let count = layout.batch() * layout.queries() * config.d_model;
            Some(copied(self.backend(), workspace.resid(), count)?)
        } else {
            None
        };
        let mut rotary = RotaryTables::new(self);
        if let Some(rotary) = &mut rotary {
            rotary.reserve(self, layout);
        }
        let vocab_size = config.vocab_size;
        let positions = workspace.logit_positions().to_vec();
        let mut values = vec![0.0; positions.len() * vocab_size];
        self.backend().read(workspace.logits(), 0, &mut values)?;
        let tape = Tape {
            model: self,
            layout: workspace.layout().clone(),
            layers: first..end,
            embedding,
            head,
            saved: keeper.saved,
            final_input,
            rotary,
            edits,
            gradients: Gradients::new(self.backend()),
        };
        Ok((
            ForwardOutput {
                logits: Logits {
                    positions,
                    vocab_size,
                    values,
                },
                recording,
            },
            tape,
        ))
    }
}

/// A copy of the first `count` elements.
fn copied<B: Backend>(backend: &B, values: &B::Buffer, count: usize) -> Result<B::Buffer, KernelError> {
    let mut copy = backend.zeros(count);
    backend.copy(values, count, &mut copy)?;
    Ok(copy)
}

/// The visitor that keeps values.
struct Keeper<B: Backend> {
    rotary: bool,
    edited: BTreeSet<Site>,
    saved: HashMap<Site, B::Buffer>,
}

impl<B: Backend> SiteVisitor<B> for Keeper<B> {
    fn wants(&self, site: Site) -> bool {
        let edited = |site| self.edited.contains(&site);
        match site {
            Site::ResidPre(_)
            | Site::ResidMid(_)
            | Site::Value(_)
            | Site::MlpPre(_)
            | Site::MlpPreLinear(_) => true,
            Site::RotaryQuery(_) | Site::RotaryKey(_) => self.rotary,
            Site::Query(_) | Site::Key(_) => !self.rotary,
            // Computed again from the norm's input unless an edit makes it something else.
            Site::NormScale(_) => edited(site),
            Site::AttentionScores(l) => edited(site) || edited(Site::AttentionPattern(l)),
            Site::AttentionPattern(_) => edited(site),
            _ => false,
        }
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        self.saved
            .insert(view.site, copied(backend, view.buffer, view.value_count())?);
        Ok(())
    }
}
