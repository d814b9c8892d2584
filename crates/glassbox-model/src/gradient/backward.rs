//! The pass back.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_kernels::Backend;
use glassbox_kernels::backend::NormKind;

use crate::config::PositionKind;
use crate::forward_error::ForwardError;
use crate::gradient::buffers::Gradients;
use crate::gradient::seeds::Seeds;
use crate::gradient::tape::Tape;
use crate::program::Reach;
use crate::record::{RecordedSite, Recording};
use crate::site::{Norm, Site, SiteAxes};
use crate::weights::NormWeights;

impl<B: Backend> Tape<'_, B> {
    /// The gradients of the seeded scalar with respect to the wanted sites, all in one pass back.
    ///
    /// A gradient is with respect to the site's value as it is recorded, after the edits there; it flows on through
    /// the edits to earlier sites. At padding it is zero or meaningless.
    ///
    /// # Errors
    /// [`ForwardError::NotComputed`] or [`ForwardError::Site`] for a site that the pass did not compute,
    /// [`ForwardError::Seed`] for a seed that does not fit, [`ForwardError::NonFinite`] for a gradient that is not
    /// finite.
    pub fn backward(&mut self, seeds: &Seeds, wanted: &[Site]) -> Result<Recording, ForwardError> {
        self.check(seeds, wanted)?;
        let Some(top) = self.top(seeds, wanted) else {
            return Ok(Recording::default());
        };
        self.gradients.reserve(self.model, &self.layout);
        let dense = self.dense_seeds(seeds)?;
        let mut gradients = std::mem::replace(&mut self.gradients, Gradients::new(self.model.backend()));
        let mut way = WayBack {
            tape: self,
            seeds: &dense,
            remaining: wanted.iter().copied().collect(),
            recording: Recording::default(),
        };
        let outcome = way.run(seeds, top, &mut gradients);
        let mut recording = way.recording;
        self.gradients = gradients;
        outcome?;
        recording.lay_out(
            (0..self.layout.batch())
                .map(|row| self.layout.origin(row))
                .collect(),
        );
        Ok(recording)
    }

    fn reach(&self) -> Reach {
        Reach {
            layers: self.layers.clone(),
            embedding: self.embedding,
            head: self.head,
            positions: Vec::new(),
            prompt_lengths: Vec::new(),
        }
    }

    fn not_computed(&self, site: Site) -> ForwardError {
        ForwardError::NotComputed {
            site,
            computed: self.reach().describe(),
        }
    }

    fn check(&self, seeds: &Seeds, wanted: &[Site]) -> Result<(), ForwardError> {
        let (config, reach) = (self.model.config(), self.reach());
        for site in seeds.sites().chain(wanted.iter().copied()) {
            site.check(config)?;
            if !reach.computes(site) {
                return Err(self.not_computed(site));
            }
        }
        let refuse = |what: String, reason: String| Err(ForwardError::Seed { what, reason });
        if seeds.logits.is_empty() && seeds.sites().next().is_none() {
            return refuse(
                "the scalar".to_owned(),
                "there is none; seed a logit or a site".to_owned(),
            );
        }
        for (at, values) in &seeds.logits {
            let what = || format!("the logits at row {}, position {}", at.row, at.position);
            if !self.head {
                return refuse(what(), "the pass stopped before the logits".to_owned());
            }
            if values.len() != config.vocab_size {
                return refuse(
                    what(),
                    format!(
                        "{} values, the vocabulary has {}",
                        values.len(),
                        config.vocab_size
                    ),
                );
            }
            if self.row_of(at.row, at.position).is_none() {
                return refuse(what(), "the pass has no such position".to_owned());
            }
        }
        Ok(())
    }

    /// Row of a [batch, pos, …] buffer.
    fn row_of(&self, row: u32, position: u32) -> Option<u32> {
        let query = self.layout.query(row as usize, position)?;
        Some((row as usize * self.layout.queries() + query) as u32)
    }

    /// Where the way back begins: `Some(n)` above block n − 1 (`Some(n_layers + 1)` is the final norm).
    fn top(&self, seeds: &Seeds, wanted: &[Site]) -> Option<usize> {
        let n = self.model.config().n_layers;
        let height = |site: Site| match site {
            Site::Embed | Site::PosEmbed => 0,
            site => site.layer().map_or(n + 1, |l| l as usize + 1),
        };
        let sites = seeds.sites().chain(wanted.iter().copied()).map(height).max();
        if seeds.logits.is_empty() {
            sites
        } else {
            Some(n + 1)
        }
    }

    /// The seeds of each site over all of its values.
    fn dense_seeds(&self, seeds: &Seeds) -> Result<BTreeMap<Site, Vec<f32>>, ForwardError> {
        let (config, layout) = (self.model.config(), &self.layout);
        let count = |site: Site| {
            site.axes(config)
                .len(layout.batch(), layout.queries(), layout.keys())
        };
        let mut dense: BTreeMap<Site, Vec<f32>> = BTreeMap::new();
        let mut add = |site: Site, begin: usize, values: &[f32]| {
            let sum = dense.entry(site).or_insert_with(|| vec![0.0; count(site)]);
            sum[begin..begin + values.len()]
                .iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        };
        for (site, values) in &seeds.whole {
            if values.len() != count(*site) {
                let reason = format!("{} values, the site has {}", values.len(), count(*site));
                return Err(ForwardError::Seed {
                    what: format!("`{site}`"),
                    reason,
                });
            }
            add(*site, 0, values);
        }
        for (site, at, values) in &seeds.positions {
            let refuse = |reason: String| ForwardError::Seed {
                what: format!("`{site}` at row {}, position {}", at.row, at.position),
                reason,
            };
            let width = match site.axes(config) {
                SiteAxes::Rows { width } => width,
                SiteAxes::Heads { heads, width } => heads * width,
                SiteAxes::Attention { .. } => {
                    return Err(refuse(
                        "scores and patterns have no position; seed the whole site".to_owned(),
                    ));
                }
            };
            if values.len() != width {
                return Err(refuse(format!("{} values, a position has {width}", values.len())));
            }
            let row = self
                .row_of(at.row, at.position)
                .ok_or_else(|| refuse("the pass has no such position".to_owned()))?;
            add(*site, row as usize * width, values);
        }
        Ok(dense)
    }
}

/// One pass back.
struct WayBack<'a, 'm, B: Backend> {
    tape: &'a Tape<'m, B>,
    seeds: &'a BTreeMap<Site, Vec<f32>>,
    /// Wanted sites that have not been reached.
    remaining: BTreeSet<Site>,
    recording: Recording,
}

impl<'a, B: Backend> WayBack<'a, '_, B> {
    fn run(&mut self, seeds: &Seeds, top: usize, g: &mut Gradients<B>) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (config, backend) = (tape.model.config(), tape.model.backend());
        let count = tape.layout.batch() * tape.layout.queries() * config.d_model;
        backend.fill(&mut g.resid, count, 0.0)?;
        if top > config.n_layers {
            self.head(seeds, g)?;
        }
        for l in tape.layers.clone().rev().filter(|&l| l < top) {
            self.block(l, g)?;
            if self.remaining.is_empty() {
                return Ok(());
            }
        }
        if tape.embedding {
            backend.copy(&g.resid, count, &mut g.branch)?;
            self.at(Site::Embed, &mut g.branch)?;
            if config.positions == PositionKind::Learned {
                self.at(Site::PosEmbed, &mut g.resid)?;
            }
        }
        Ok(())
    }

    /// What happens to a gradient at a site: seeds are added, it is recorded, and edits are undone.
    fn at(&mut self, site: Site, gradient: &mut B::Buffer) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (backend, layout) = (tape.model.backend(), &tape.layout);
        if let Some(seed) = self.seeds.get(&site) {
            backend.add(&backend.upload(seed), seed.len(), gradient)?;
        }
        if self.remaining.remove(&site) {
            let axes = site.axes(tape.model.config());
            let shape = axes.shape(layout.batch(), layout.queries(), layout.keys());
            let mut values = vec![0.0; shape.iter().product()];
            backend.read(gradient, 0, &mut values)?;
            self.check_finite(site, axes, &values)?;
            self.recording.insert(site, RecordedSite { shape, values });
        }
        tape.edits.pull_back(backend, site, gradient)?;
        Ok(())
    }

    fn check_finite(&self, site: Site, axes: SiteAxes, values: &[f32]) -> Result<(), ForwardError> {
        let Some(index) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let layout = &self.tape.layout;
        let (row, query, element) = axes.place(index, layout.queries(), layout.keys());
        let position = query as i64 - layout.origin(row);
        let place = format!("the gradient at {site}");
        Err(ForwardError::NonFinite {
            place,
            row,
            position,
            element,
            value: values[index],
        })
    }

    /// Whether anything happens at a site.
    fn matters(&self, site: Site) -> bool {
        self.seeds.contains_key(&site) || self.remaining.contains(&site) || self.tape.edits.edited(site)
    }

    fn saved(&self, site: Site) -> Result<&'a B::Buffer, ForwardError> {
        let tape = self.tape;
        tape.saved.get(&site).ok_or_else(|| tape.not_computed(site))
    }

    fn final_input(&self) -> Result<&'a B::Buffer, ForwardError> {
        let tape = self.tape;
        tape.final_input
            .as_ref()
            .ok_or_else(|| tape.not_computed(Site::NormScale(Norm::Final)))
    }

    /// From the logits to the residual stream after the last block.
    fn head(&mut self, seeds: &Seeds, g: &mut Gradients<B>) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (config, backend) = (tape.model.config(), tape.model.backend());
        let (rows, width) = (tape.layout.batch() * tape.layout.queries(), config.d_model);
        backend.fill(&mut g.normalized, rows * width, 0.0)?;
        let chosen: Vec<u32> = seeds
            .logits
            .keys()
            .filter_map(|at| tape.row_of(at.row, at.position))
            .collect();
        if !chosen.is_empty() {
            let values: Vec<f32> = seeds.logits.values().flatten().copied().collect();
            let mut gradient = backend.zeros(chosen.len() * width);
            let unembed = tape.model.unembed();
            backend.linear_backward(
                &backend.upload(&values),
                chosen.len(),
                unembed,
                false,
                &mut gradient,
            )?;
            backend.scatter_rows(&gradient, width, &chosen, &mut g.normalized)?;
        }
        self.norm(Norm::Final, &tape.model.weights().ln_final, g)
    }

    fn block(&mut self, l: usize, g: &mut Gradients<B>) -> Result<(), ForwardError> {
        let layer = l as u32;
        let weights = &self.tape.model.weights().blocks[l];
        self.at(Site::ResidPost(layer), &mut g.resid)?;
        self.mlp(l, g)?;
        self.norm(Norm::Mlp(layer), &weights.ln2, g)?;
        self.at(Site::ResidMid(layer), &mut g.resid)?;
        if self.remaining.is_empty() {
            return Ok(());
        }
        self.attention(l, g)?;
        self.norm(Norm::Attention(layer), &weights.ln1, g)?;
        self.at(Site::ResidPre(layer), &mut g.resid)
    }

    /// From the gradient of a norm's output in `g.normalized` to its input's, added to `g.resid`.
    fn norm(
        &mut self,
        norm: Norm,
        weights: &NormWeights<B>,
        g: &mut Gradients<B>,
    ) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (config, backend) = (tape.model.config(), tape.model.backend());
        let (kind, width) = (config.norm, config.d_model);
        let rows = tape.layout.batch() * tape.layout.queries();
        let site = Site::NormNormalized(norm);
        let mut weight = Some(&weights.weight);
        match kind {
            // The site lies before the weight.
            NormKind::Rms if self.matters(site) => {
                backend.multiply_rows(&mut g.normalized, rows, width, &weights.weight)?;
                self.at(site, &mut g.normalized)?;
                weight = None;
            }
            NormKind::Rms => {}
            NormKind::Layer => self.at(site, &mut g.normalized)?,
        }
        let input = match norm {
            Norm::Attention(l) => self.saved(Site::ResidPre(l))?,
            Norm::Mlp(l) => self.saved(Site::ResidMid(l))?,
            Norm::Final => self.final_input()?,
        };
        backend.norm_scale(kind, input, rows, width, config.norm_eps, &mut g.scale_value)?;
        // An edited scale divides, but only the computed one depends on the input.
        let divisor = tape.saved.get(&Site::NormScale(norm)).unwrap_or(&g.scale_value);
        backend.norm_apply_backward(
            kind,
            input,
            divisor,
            &g.normalized,
            rows,
            width,
            weight,
            true,
            &mut g.resid,
            &mut g.scale,
        )?;
        self.at(Site::NormScale(norm), &mut g.scale)?;
        backend.norm_scale_backward(kind, input, &g.scale_value, &g.scale, rows, width, &mut g.resid)?;
        Ok(())
    }

    /// From the residual stream's gradient in `g.resid` to that of the MLP's input, in `g.normalized`.
    fn mlp(&mut self, l: usize, g: &mut Gradients<B>) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (config, backend) = (tape.model.config(), tape.model.backend());
        let rows = tape.layout.batch() * tape.layout.queries();
        let weights = &tape.model.weights().blocks[l];
        let (layer, count) = (l as u32, rows * config.d_mlp);
        backend.copy(&g.resid, rows * config.d_model, &mut g.branch)?;
        self.at(Site::MlpOut(layer), &mut g.branch)?;
        backend.linear_backward(&g.branch, rows, &weights.down.weight, false, &mut g.mlp_post)?;
        self.at(Site::MlpPost(layer), &mut g.mlp_post)?;
        let kind = config.activation;
        match &weights.gate {
            Some(gate) => {
                backend.gated_activation_backward(
                    kind,
                    self.saved(Site::MlpPre(layer))?,
                    self.saved(Site::MlpPreLinear(layer))?,
                    &g.mlp_post,
                    count,
                    &mut g.mlp_pre,
                    &mut g.mlp_pre_linear,
                )?;
                self.at(Site::MlpPre(layer), &mut g.mlp_pre)?;
                self.at(Site::MlpPreLinear(layer), &mut g.mlp_pre_linear)?;
                backend.linear_backward(&g.mlp_pre, rows, &gate.weight, false, &mut g.normalized)?;
                backend.linear_backward(
                    &g.mlp_pre_linear,
                    rows,
                    &weights.up.weight,
                    true,
                    &mut g.normalized,
                )?;
            }
            None => {
                let pre = self.saved(Site::MlpPre(layer))?;
                backend.activation_backward(kind, pre, &g.mlp_post, count, &mut g.mlp_pre)?;
                self.at(Site::MlpPre(layer), &mut g.mlp_pre)?;
                backend.linear_backward(&g.mlp_pre, rows, &weights.up.weight, false, &mut g.normalized)?;
            }
        }
        self.at(Site::MlpIn(layer), &mut g.normalized)
    }

    /// From the residual stream's gradient in `g.resid` to that of the attention's input, in `g.normalized`.
    fn attention(&mut self, l: usize, g: &mut Gradients<B>) -> Result<(), ForwardError> {
        let tape = self.tape;
        let (config, backend, layout) = (tape.model.config(), tape.model.backend(), &tape.layout);
        let rows = layout.batch() * layout.queries();
        let weights = &tape.model.weights().blocks[l];
        let layer = l as u32;
        backend.copy(&g.resid, rows * config.d_model, &mut g.branch)?;
        self.at(Site::AttentionOut(layer), &mut g.branch)?;
        backend.linear_backward(&g.branch, rows, &weights.out.weight, false, &mut g.mixed)?;
        self.at(Site::Mixed(layer), &mut g.mixed)?;

        let (query_site, key_site) = match tape.rotary {
            Some(_) => (Site::RotaryQuery(layer), Site::RotaryKey(layer)),
            None => (Site::Query(layer), Site::Key(layer)),
        };
        let shape = layout.attention_shape(config, l, layout.queries());
        let score_rows = layout.batch() * config.n_heads * layout.queries();
        match tape.saved.get(&Site::AttentionScores(layer)) {
            Some(scores) => backend.copy(scores, score_rows * layout.keys(), &mut g.pattern_value)?,
            None => backend.attention_scores(
                self.saved(query_site)?,
                self.saved(key_site)?,
                &shape,
                layout.first_key(),
                &mut g.pattern_value,
            )?,
        }
        backend.softmax(&mut g.pattern_value, score_rows, layout.keys())?;
        let mixing = tape
            .saved
            .get(&Site::AttentionPattern(layer))
            .unwrap_or(&g.pattern_value);
        let values = self.saved(Site::Value(layer))?;
        backend.attention_mix_backward(&g.mixed, mixing, values, &shape, &mut g.pattern, &mut g.value)?;
        self.at(Site::AttentionPattern(layer), &mut g.pattern)?;
        backend.softmax_backward(&g.pattern_value, score_rows, layout.keys(), &mut g.pattern)?;
        self.at(Site::AttentionScores(layer), &mut g.pattern)?;
        backend.attention_scores_backward(
            &g.pattern,
            self.saved(query_site)?,
            self.saved(key_site)?,
            &shape,
            layout.first_key(),
            &mut g.query,
            &mut g.key,
        )?;
        if let Some(table) = &tape.rotary {
            self.at(Site::RotaryQuery(layer), &mut g.query)?;
            self.at(Site::RotaryKey(layer), &mut g.key)?;
            table.turn(backend, &mut g.query, config.n_heads, config.d_head, layout, true)?;
            table.turn(
                backend,
                &mut g.key,
                config.n_kv_heads,
                config.d_head,
                layout,
                true,
            )?;
        }
        self.at(Site::Query(layer), &mut g.query)?;
        self.at(Site::Key(layer), &mut g.key)?;
        self.at(Site::Value(layer), &mut g.value)?;
        backend.linear_backward(&g.query, rows, &weights.query.weight, false, &mut g.normalized)?;
        backend.linear_backward(&g.key, rows, &weights.key.weight, true, &mut g.normalized)?;
        backend.linear_backward(&g.value, rows, &weights.value.weight, true, &mut g.normalized)?;
        Ok(())
    }
}
