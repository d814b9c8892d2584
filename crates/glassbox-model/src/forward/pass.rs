//! One pass from tokens or a residual to logits.

use std::ops::Range;

use glassbox_kernels::Backend;

use crate::cache::KvCache;
use crate::forward::block::{decoder_block, norm};
use crate::forward::check;
use crate::forward::diagnose::{NonFiniteFinder, non_finite};
use crate::forward::hooks::{Hooks, SiteVisitor};
use crate::forward::layout::PassLayout;
use crate::forward::request::{ForwardOutput, ForwardRequest, Logits, PassProgram, Residual, Resume, Start};
use crate::forward::rotary_tables::RotaryTables;
use crate::forward::workspace::{Buffers, Workspace, grow};
use crate::forward_error::ForwardError;
use crate::gradient::EditLog;
use crate::model::Model;
use crate::program::ProgramRun;
use crate::record::{Recorder, Recording};
use crate::site::{Norm, Site};

/// What only the tape adds to a pass.
pub(crate) struct PassExtras<'a, B: Backend> {
    pub(crate) visitor: Option<&'a mut dyn SiteVisitor<B>>,
    pub(crate) edit_log: Option<&'a mut EditLog<B>>,
}

impl<B: Backend> Default for PassExtras<'_, B> {
    fn default() -> Self {
        Self {
            visitor: None,
            edit_log: None,
        }
    }
}

impl<B: Backend> Model<B> {
    /// Runs a pass and reads its logits back.
    ///
    /// # Errors
    /// [`ForwardError`]: a request that does not fit the model, found before anything is computed; an intervention
    /// that did not fire; a value that is not finite, with the first site that has one; a visitor's own error.
    pub fn forward(
        &self,
        workspace: &mut Workspace<B>,
        request: ForwardRequest<'_, B>,
    ) -> Result<ForwardOutput, ForwardError> {
        let recording = self.forward_on_device(workspace, request)?;
        let vocab_size = self.config().vocab_size;
        let positions = workspace.logit_positions.clone();
        let mut values = vec![0.0; positions.len() * vocab_size];
        self.backend().read(&workspace.buffers.logits, 0, &mut values)?;
        Ok(ForwardOutput {
            logits: Logits {
                positions,
                vocab_size,
                values,
            },
            recording,
        })
    }

    /// Runs a pass and leaves its logits on the device: [`Workspace::logits`], [`Workspace::logit_positions`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_on_device(
        &self,
        workspace: &mut Workspace<B>,
        request: ForwardRequest<'_, B>,
    ) -> Result<Recording, ForwardError> {
        self.run_pass(workspace, request, PassExtras::default())
    }

    pub(crate) fn run_pass(
        &self,
        workspace: &mut Workspace<B>,
        request: ForwardRequest<'_, B>,
        extras: PassExtras<'_, B>,
    ) -> Result<Recording, ForwardError> {
        let ForwardRequest {
            batch,
            start,
            stop_after,
            logits,
            mut cache,
            program,
            prompt_lengths,
            row_ids,
            first_key,
            resume,
            record,
            reused,
            visitor,
        } = request;
        let (config, backend) = (self.config(), self.backend());

        let layers = check::layers(config, &start, stop_after)?;
        let lists = [
            ("the list of prompt lengths", prompt_lengths),
            ("the list of row ids", row_ids),
            ("the list of first keys", first_key),
        ];
        check::rows(batch, cache.as_deref(), lists)?;
        let past = cache.as_deref().filter(|cache| cache.filled() > 0);
        let first_slot = past.map_or(0, KvCache::filled);
        let first_key = past.map(KvCache::first_key).or(first_key);
        let origin = cache.as_deref().and_then(KvCache::origin);
        workspace.layout.fill(
            batch,
            first_slot,
            first_key,
            origin.as_deref(),
            prompt_lengths,
            row_ids,
        );
        let embedding = matches!(start, Start::Embedding);
        check::context(config, &workspace.layout)?;
        if embedding {
            check::tokens(config, batch, &workspace.layout)?;
        }
        if let Some(cache) = cache.as_deref_mut() {
            cache.check_layers(&layers)?;
            cache.reserve(workspace.layout.keys())?;
        }
        check::logit_rows(
            &logits,
            &workspace.layout,
            &mut workspace.logit_positions,
            &mut workspace.logit_rows,
        )?;
        if let (Some(layer), false) = (stop_after, workspace.logit_rows.is_empty()) {
            return Err(ForwardError::LogitsAfterStop { layer });
        }

        let reach = check::reach(&workspace.layout, layers.clone(), embedding, stop_after.is_none());
        for &site in record {
            site.check(config)?;
            if !reach.computes(site) {
                return Err(ForwardError::NotComputed {
                    site,
                    computed: reach.describe(),
                });
            }
        }
        let mut whole = match &program {
            PassProgram::Whole(program) => Some(ProgramRun::compile(program, config, &reach)?),
            PassProgram::None | PassProgram::Running(_) => None,
        };
        let running = match program {
            PassProgram::Running(run) => Some(run),
            PassProgram::None | PassProgram::Whole(_) => whole.as_mut(),
        };

        workspace.reserve(self);
        let Workspace {
            layout,
            buffers,
            rotary,
            logit_rows,
            ..
        } = workspace;
        let mut recorder = (!record.is_empty()).then(|| Recorder::new(record, reused));
        let mut hooks = Hooks {
            backend,
            config,
            layout,
            program: running,
            visitors: [
                recorder
                    .as_mut()
                    .map(|recorder| recorder as &mut dyn SiteVisitor<B>),
                visitor.map(|visitor| visitor as &mut dyn SiteVisitor<B>),
                extras.visitor.map(|visitor| visitor as &mut dyn SiteVisitor<B>),
            ],
            edit_log: extras.edit_log,
        };
        let mut pass = Pass {
            model: self,
            buffers,
            rotary: rotary.as_ref(),
            cache: cache.as_deref_mut(),
            ids: batch.ids(),
            start,
            layers: layers.clone(),
            runs_to_end: stop_after.is_none(),
            logit_rows,
            resume,
        };
        pass.compute(&mut hooks)?;
        if let Some(non_finite) = pass.first_non_finite(hooks.layout)? {
            // A second pass over the same tokens finds where it began. It overwrites the same slots of the cache.
            let shares_keys = pass.cache.as_deref().is_some_and(KvCache::shares_keys);
            let mut finder = NonFiniteFinder::new(!shares_keys);
            hooks.visitors = [Some(&mut finder), None, None];
            hooks.edit_log = None;
            let outcome = pass.compute(&mut hooks);
            return Err(match (finder.into_found(), outcome) {
                (Some(found), _) => found,
                (None, Err(error)) => error,
                (None, Ok(())) => non_finite,
            });
        }
        if let Some(cache) = cache {
            cache.commit(workspace.layout.first_key(), batch.width(), &layers);
        }
        if let Some(run) = whole {
            run.ensure_all_fired()?;
        }
        let mut recording = recorder.map(|recorder| recorder.recording).unwrap_or_default();
        let layout = &workspace.layout;
        let first_slot = layout.first_slot() as i64;
        recording.lay_out(
            (0..layout.batch())
                .map(|row| layout.origin(row) - first_slot)
                .collect(),
        );
        Ok(recording)
    }
}

/// The computation of a checked request.
struct Pass<'a, B: Backend> {
    model: &'a Model<B>,
    buffers: &'a mut Buffers<B>,
    rotary: Option<&'a RotaryTables<B>>,
    cache: Option<&'a mut KvCache<B>>,
    ids: &'a [u32],
    start: Start<'a, B>,
    layers: Range<usize>,
    runs_to_end: bool,
    logit_rows: &'a [u32],
    resume: Option<Resume<'a, B>>,
}

impl<B: Backend> Pass<'_, B> {
    fn compute(&mut self, hooks: &mut Hooks<'_, B>) -> Result<(), ForwardError> {
        hooks.layout.activate_all();
        self.begin(hooks)?;
        for l in self.layers.clone() {
            hooks.at(Site::ResidPre(l as u32), &mut self.buffers.resid)?;
            if let Some(resume) = &self.resume {
                hooks
                    .layout
                    .activate(resume.block.partition_point(|&block| block as usize <= l));
            }
            if hooks.layout.batch() > 0 {
                let layer = self.cache.as_deref_mut().and_then(|cache| cache.layer_mut(l));
                decoder_block(self.model, l, self.buffers, self.rotary, layer, hooks)?;
            }
            let computed = hooks.layout.batch();
            hooks.layout.activate_all();
            self.fill_waiting_rows(l, computed)?;
            hooks.at(Site::ResidPost(l as u32), &mut self.buffers.resid)?;
        }
        if self.runs_to_end {
            self.head(hooks)
        } else {
            Ok(())
        }
    }

    /// After block `l`, the rows that it was not computed for have the residual of their prompt's last position there.
    fn fill_waiting_rows(&mut self, l: usize, computed: usize) -> Result<(), ForwardError> {
        let Some(Resume { prompt, resid, .. }) = &self.resume else {
            return Ok(());
        };
        let (width, backend) = (self.model.config().d_model, self.model.backend());
        let waiting = &prompt[computed..];
        if !waiting.is_empty() {
            let rows: Vec<u32> = (computed as u32..prompt.len() as u32).collect();
            backend.gather_rows(&resid[l + 1], width, waiting, &mut self.buffers.branch)?;
            backend.scatter_rows(&self.buffers.branch, width, &rows, &mut self.buffers.resid)?;
        }
        Ok(())
    }

    /// Fills the residual stream: from the token ids, or with what was given.
    fn begin(&mut self, hooks: &mut Hooks<'_, B>) -> Result<(), ForwardError> {
        let (config, backend) = (self.model.config(), self.model.backend());
        let layout = &*hooks.layout;
        let (rows, batch, queries) = (layout.rows(), layout.batch(), layout.queries());
        let count = rows * config.d_model;
        let Buffers { resid, branch, .. } = &mut *self.buffers;
        let refuse = |found| ForwardError::ResidualSize {
            found,
            batch,
            queries,
            width: config.d_model,
        };
        match &self.start {
            Start::Embedding => {
                backend.embed(&self.model.weights().embed, self.ids, resid)?;
                hooks.at(Site::Embed, resid)?;
                if let Some(table) = &self.model.weights().pos_embed {
                    backend.embed(table, hooks.layout.position_ids(), branch)?;
                    hooks.at(Site::PosEmbed, branch)?;
                    backend.add(branch, count, resid)?;
                }
            }
            Start::Layer {
                residual: Residual::Host(values),
                ..
            } => {
                if values.len() != count {
                    return Err(refuse(values.len()));
                }
                backend.write(resid, 0, values)?;
            }
            Start::Layer {
                residual: Residual::Device(values),
                ..
            } => {
                if backend.len(values) < count {
                    return Err(refuse(backend.len(values)));
                }
                backend.copy(values, count, resid)?;
            }
        }
        Ok(())
    }

    /// The final norm and the logits of the chosen rows.
    fn head(&mut self, hooks: &mut Hooks<'_, B>) -> Result<(), ForwardError> {
        let (config, backend) = (self.model.config(), self.model.backend());
        let weights = &self.model.weights().ln_final;
        let width = config.d_model;
        let chosen = self.logit_rows.len();
        let hooked =
            hooks.wants(Site::NormScale(Norm::Final)) || hooks.wants(Site::NormNormalized(Norm::Final));
        if hooked {
            norm(
                self.model,
                Norm::Final,
                weights,
                hooks.layout.rows(),
                self.buffers,
                hooks,
            )?;
        }
        if chosen == 0 {
            return Ok(());
        }
        let Buffers {
            resid,
            normalized,
            scale,
            chosen: rows,
            logits,
            ..
        } = &mut *self.buffers;
        grow(backend, rows, chosen * width);
        grow(backend, logits, chosen * config.vocab_size);
        if hooked {
            backend.gather_rows(normalized, width, self.logit_rows, rows)?;
            backend.linear(rows, chosen, self.model.unembed(), None, logits)?;
        } else {
            backend.gather_rows(resid, width, self.logit_rows, rows)?;
            backend.norm_scale(config.norm, rows, chosen, width, config.norm_eps, scale)?;
            let (weight, bias) = (Some(&weights.weight), weights.bias.as_ref());
            backend.norm_apply(config.norm, rows, scale, chosen, width, weight, bias, normalized)?;
            backend.linear(normalized, chosen, self.model.unembed(), None, logits)?;
        }
        Ok(())
    }

    /// An error for the first logit (or, without logits, the first value of the residual stream) that is not finite.
    fn first_non_finite(&self, layout: &PassLayout) -> Result<Option<ForwardError>, ForwardError> {
        let (config, backend) = (self.model.config(), self.model.backend());
        let (place, buffer, rows, width) = if self.logit_rows.is_empty() {
            (
                "the residual stream",
                &self.buffers.resid,
                layout.rows(),
                config.d_model,
            )
        } else {
            (
                "logits",
                &self.buffers.logits,
                self.logit_rows.len(),
                config.vocab_size,
            )
        };
        let Some((row, element)) = backend.first_non_finite(buffer, rows, width)? else {
            return Ok(None);
        };
        let mut value = [0.0];
        backend.read(buffer, row * width + element, &mut value)?;
        let place_row = self.logit_rows.get(row).map_or(row, |&row| row as usize);
        let (batch_row, query) = (place_row / layout.queries(), place_row % layout.queries());
        Ok(Some(non_finite(
            place.to_owned(),
            layout,
            batch_row,
            query,
            element,
            value[0],
        )))
    }
}
