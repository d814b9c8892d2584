//! The loop of a generation.

use std::sync::Arc;

use glassbox_kernels::Backend;
use glassbox_kernels::backend::TopEntries;
use rayon::prelude::*;

use crate::batch::TokenBatch;
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::edit::{BatchRows, Positions};
use crate::forward::{ForwardRequest, LogitPositions, Resume, SiteVisitor, Workspace};
use crate::forward_error::ForwardError;
use crate::generate::prefill::pieces;
use crate::generate::request::{ChosenToken, GenerateError, Generated, GenerationRequest, Prompts};
use crate::generate::shared_prefix::check_prompts;
use crate::generate::stop::{RowText, StopReason};
use crate::model::Model;
use crate::program::{ProgramRun, Reach, refuse_prefix_edits};
use crate::random::TokenNumbers;
use crate::sampling::{Sampler, Sampling};
use crate::site::{Norm, Site};

/// Slots that a cache begins with beyond the prompt; it grows when more are needed.
const FIRST_NEW_SLOTS: usize = 64;

/// A row that has not ended.
struct LiveRow<'a> {
    row: u32,
    prompt_length: u32,
    tokens: Vec<u32>,
    top_logits: Vec<TopEntries>,
    numbers: Option<TokenNumbers>,
    sampler: Sampler,
    text: Option<RowText<'a>>,
}

impl<B: Backend> Model<B> {
    /// Generates tokens for every row of the request; the result is in the order of the request's rows.
    ///
    /// Rows that end are dropped from the passes. A row's tokens do not depend on the rows beside it, other than by
    /// the rounding of products of another size.
    ///
    /// # Errors
    /// [`GenerateError`]: a request that does not fit the model, found before anything is computed; whatever a pass
    /// can fail with; an intervention that never fired.
    pub fn generate(
        &self,
        workspace: &mut Workspace<B>,
        request: GenerationRequest<'_, B>,
    ) -> Result<Vec<Generated>, GenerateError> {
        check(self, &request)?;
        let mut program = compile(self, &request)?;
        let mut generation = Generation::begin(self, request)?;
        while !generation.live.is_empty() {
            generation.pass(self, workspace, program.as_mut())?;
            generation.choose(self, workspace)?;
            generation.settle(self)?;
        }
        if let Some(program) = program {
            program.ensure_all_fired()?;
        }
        Ok(generation.finished.into_iter().flatten().collect())
    }
}

/// That the request fits the model and itself.
fn check<B: Backend>(model: &Model<B>, request: &GenerationRequest<'_, B>) -> Result<(), GenerateError> {
    let refuse = |what: String| Err(GenerateError::Request(what));
    let rows = request.prompts.count();
    if let Prompts::Shared { prefix, rows } = request.prompts
        && let Some(row) = rows.iter().find(|&&row| row as usize >= prefix.prompts().len())
    {
        return refuse(format!(
            "a row continues prompt {row} of the shared prefix, which has prompts 0 to {}",
            prefix.prompts().len() - 1
        ));
    }
    check_prompts(model, (0..rows).map(|row| request.prompts.prompt(row)))?;
    if request.max_new_tokens == 0 {
        return refuse("max_new_tokens is 0; ask for at least 1".to_owned());
    }
    if let Sampling::Random(how) = request.sampling {
        how.check()?;
        if request.random_keys.len() != rows {
            return refuse(format!(
                "{} random keys for {rows} rows; sampling needs one per row",
                request.random_keys.len()
            ));
        }
    }
    if !request.stop_strings.is_empty() && request.text.is_none() {
        return refuse("stop strings need a tokenizer to make text of the tokens".to_owned());
    }
    if request.stop_strings.iter().any(String::is_empty) {
        return refuse("a stop string is empty; it would end every row at once".to_owned());
    }
    Ok(())
}

/// Checks the program against everything that the generation may compute.
fn compile<B: Backend>(
    model: &Model<B>,
    request: &GenerationRequest<'_, B>,
) -> Result<Option<ProgramRun<B>>, GenerateError> {
    let Some(program) = request.program else {
        return Ok(None);
    };
    let config = model.config();
    let prompt_lengths: Vec<u32> = (0..request.prompts.count())
        .map(|row| request.prompts.prompt(row).len() as u32)
        .collect();
    let prefix_lengths: Vec<u32> = match request.prompts {
        Prompts::Own(_) => vec![0; prompt_lengths.len()],
        Prompts::Shared { .. } => prompt_lengths.iter().map(|length| length - 1).collect(),
    };
    refuse_prefix_edits(program, &prefix_lengths)?;
    // The last new token is never fed back.
    let end = |length: u32| {
        (length as usize)
            .saturating_add(request.max_new_tokens - 1)
            .min(config.max_positions) as u32
    };
    let positions = prefix_lengths
        .iter()
        .zip(&prompt_lengths)
        .map(|(&prefix, &length)| prefix..end(length))
        .collect();
    let reach = Reach {
        layers: 0..config.n_layers,
        embedding: true,
        head: true,
        positions,
        prompt_lengths,
    };
    Ok(Some(ProgramRun::compile(program, config, &reach)?))
}

/// A generation in its course.
struct Generation<'a, B: Backend> {
    request: GenerationRequest<'a, B>,
    eos_token_ids: Vec<u32>,
    cache: KvCache<B>,
    batch: TokenBatch,
    /// The columns of the batch that one pass computes.
    piece: TokenBatch,
    step: usize,
    /// The first row that has not begun.
    next: usize,
    /// First block that an edit of each row changes at the last prompt position; empty where rows are computed whole.
    resume: Vec<u32>,
    /// In the order of the batch.
    live: Vec<LiveRow<'a>>,
    row_ids: Vec<u32>,
    prompt_lengths: Vec<u32>,
    /// Prompt of each live row and the block that its next pass begins with, where rows share a prefix.
    prompt_rows: Vec<u32>,
    first_blocks: Vec<u32>,
    logits: Vec<f32>,
    chosen: Vec<ChosenToken>,
    /// By row of the request.
    finished: Vec<Option<Generated>>,
}

impl<'a, B: Backend> Generation<'a, B> {
    fn begin(model: &Model<B>, request: GenerationRequest<'a, B>) -> Result<Self, GenerateError> {
        let config = model.config();
        let rows = request.prompts.count();
        let eos = request.eos_token_ids.unwrap_or(&config.eos_token_ids).to_vec();
        let resume = match request.prompts {
            Prompts::Shared { .. } if request.resume => first_edited_blocks(config, &request),
            _ => Vec::new(),
        };
        let mut generation = Self {
            eos_token_ids: eos,
            cache: KvCache::new(model.backend(), config, 0, 0),
            batch: TokenBatch::default(),
            piece: TokenBatch::default(),
            step: 0,
            next: 0,
            resume,
            live: Vec::new(),
            row_ids: Vec::new(),
            prompt_lengths: Vec::new(),
            prompt_rows: Vec::new(),
            first_blocks: Vec::new(),
            logits: Vec::new(),
            chosen: Vec::new(),
            finished: vec![None; rows],
            request,
        };
        if let Prompts::Shared { prefix, .. } = generation.request.prompts {
            let capacity = generation.request.max_new_tokens.min(FIRST_NEW_SLOTS);
            let live = rows.min(generation.request.live_rows);
            let prompts = Arc::clone(prefix.cache());
            generation.cache = KvCache::continuing(model.backend(), config, prompts, live, capacity);
        }
        generation.admit(model)?;
        Ok(generation)
    }

    /// Begins rows while there is room, and lays out the next pass.
    fn admit(&mut self, model: &Model<B>) -> Result<(), GenerateError> {
        let room = match self.live.len() {
            live if live > 0 && !self.request.continuous => 0,
            live => self.request.live_rows.max(1).saturating_sub(live),
        };
        let end = self.next.saturating_add(room).min(self.finished.len());
        let mut new: Vec<usize> = (self.next..end).collect();
        match self.request.prompts {
            Prompts::Own(own) => {
                if !self.live.is_empty() || new.is_empty() {
                    self.batch.fill_column(newest_tokens(&self.live));
                    return Ok(());
                }
                let own = &own[self.next..end];
                self.batch.fill(own.iter().map(Vec::as_slice));
                let capacity = self.batch.width() + self.request.max_new_tokens.min(FIRST_NEW_SLOTS) - 1;
                self.cache = KvCache::new(model.backend(), model.config(), own.len(), capacity);
                for row in new {
                    self.begin_row(row)?;
                }
            }
            Prompts::Shared { rows: prompts, .. } => {
                self.cache.reuse_slots()?;
                let continued = self.live.len();
                // Blocks are computed for the rows before some place, so rows that begin later come last.
                new.sort_by_key(|&row| self.resume.get(row));
                for &row in &new {
                    self.begin_row(row)?;
                    self.prompt_rows.push(prompts[row]);
                }
                self.cache.admit(&self.prompt_rows[continued..])?;
                self.first_blocks.clear();
                self.first_blocks.resize(continued, 0);
                if !self.resume.is_empty() {
                    self.first_blocks.extend(new.iter().map(|&row| self.resume[row]));
                    self.cache
                        .take_last_of_prompt(continued, &self.first_blocks[continued..])?;
                }
                let prompt = |row: u32| self.request.prompts.prompt(row as usize);
                self.batch.fill_column(self.live.iter().map(|live| {
                    let last_of_prompt = || prompt(live.row).last().copied().unwrap_or_default();
                    live.tokens.last().copied().unwrap_or_else(last_of_prompt)
                }));
            }
        }
        self.next = end;
        Ok(())
    }

    fn begin_row(&mut self, row: usize) -> Result<(), GenerateError> {
        let request = &self.request;
        let prompt = request.prompts.prompt(row);
        let text_wanted = !request.stop_strings.is_empty() || request.stop_rule.is_some();
        let text = request
            .text
            .filter(|_| text_wanted)
            .map(|source| RowText::new(source, prompt))
            .transpose()
            .map_err(|source| GenerateError::Text { row, source })?;
        self.row_ids.push(row as u32);
        self.prompt_lengths.push(prompt.len() as u32);
        self.live.push(LiveRow {
            row: row as u32,
            prompt_length: prompt.len() as u32,
            tokens: Vec::new(),
            top_logits: Vec::new(),
            numbers: match request.sampling {
                Sampling::Greedy => None,
                Sampling::Random(_) => Some(request.random_keys[row].numbers()),
            },
            sampler: Sampler::default(),
            text,
        });
        Ok(())
    }

    /// Computes the logits of every live row's next token.
    fn pass(
        &mut self,
        model: &Model<B>,
        workspace: &mut Workspace<B>,
        mut program: Option<&mut ProgramRun<B>>,
    ) -> Result<(), GenerateError> {
        let first_key: Vec<u32> = self.batch.padding().collect();
        for columns in pieces(&self.batch) {
            let last = columns.end == self.batch.width();
            self.piece.fill_from_columns(&self.batch, columns);
            let mut pass = ForwardRequest::new(&self.piece)
                .cache(&mut self.cache)
                .first_key(&first_key)
                .prompt_lengths(&self.prompt_lengths)
                .row_ids(&self.row_ids)
                .logits(if last {
                    LogitPositions::Last
                } else {
                    LogitPositions::None
                });
            if let Prompts::Shared { prefix, .. } = self.request.prompts
                && self.first_blocks.last().is_some_and(|&block| block > 0)
            {
                pass = pass.resume(Resume {
                    block: &self.first_blocks,
                    prompt: &self.prompt_rows,
                    resid: prefix.last_resid(),
                });
            }
            if let Some(program) = program.as_deref_mut() {
                pass = pass.running_program(program);
            }
            if let Some(observer) = self.request.observer.as_deref_mut() {
                pass = pass.visitor(observer as &mut dyn SiteVisitor<B>);
            }
            model.forward_on_device(workspace, pass)?;
        }
        Ok(())
    }

    /// Chooses every live row's next token.
    fn choose(&mut self, model: &Model<B>, workspace: &Workspace<B>) -> Result<(), GenerateError> {
        let (backend, vocab) = (model.backend(), model.config().vocab_size);
        let rows = self.live.len();
        let greedy = matches!(self.request.sampling, Sampling::Greedy);
        let top = self.request.top_logits.max(usize::from(greedy)).min(vocab);
        let mut tops = if top > 0 {
            backend
                .top_entries(workspace.logits(), rows, vocab, top)
                .map_err(ForwardError::from)?
        } else {
            Vec::new()
        };
        match self.request.sampling {
            Sampling::Greedy => {
                for (live, top) in self.live.iter_mut().zip(&tops) {
                    live.tokens.extend(top.indices.first());
                }
            }
            Sampling::Random(how) => {
                self.logits.resize(rows * vocab, 0.0);
                backend
                    .read(workspace.logits(), 0, &mut self.logits)
                    .map_err(ForwardError::from)?;
                self.live
                    .par_iter_mut()
                    .zip(self.logits.par_chunks(vocab))
                    .for_each(|(live, logits)| {
                        if let Some(numbers) = &mut live.numbers {
                            let step = live.tokens.len() as u64;
                            let token = live.sampler.choose(logits, &how, numbers, step);
                            live.tokens.push(token);
                        }
                    });
            }
        }
        if self.request.top_logits > 0 {
            for (live, top) in self.live.iter_mut().zip(tops.drain(..)) {
                live.top_logits.push(top);
            }
        }
        Ok(())
    }

    /// Ends the rows that are done, drops them, and lays out the next pass.
    fn settle(&mut self, model: &Model<B>) -> Result<(), GenerateError> {
        self.chosen.clear();
        for live in &mut self.live {
            let Some(&token) = live.tokens.last() else {
                continue;
            };
            let stopped = stop_reason(live, token, &self.eos_token_ids, &mut self.request, model)?;
            self.chosen.push(ChosenToken {
                row: live.row,
                position: live.prompt_length + live.tokens.len() as u32 - 2,
                token,
                stopped,
            });
        }
        if let Some(observer) = self.request.observer.as_deref_mut() {
            let step = self.step;
            observer
                .chosen(step, &self.chosen)
                .map_err(|source| GenerateError::Observer { step, source })?;
        }
        self.step += 1;
        let mut order: Vec<u32> = (0..self.live.len() as u32).collect();
        for place in (0..self.live.len()).rev() {
            let Some(stop) = self.chosen[place].stopped else {
                continue;
            };
            let ended = self.live.swap_remove(place);
            order.swap_remove(place);
            self.finished[ended.row as usize] = Some(Generated {
                tokens: ended.tokens,
                stop,
                top_logits: ended.top_logits,
            });
        }
        if order.len() < self.chosen.len() {
            self.cache.retain(&order)?;
            for of_rows in [&mut self.row_ids, &mut self.prompt_lengths, &mut self.prompt_rows] {
                if !of_rows.is_empty() {
                    *of_rows = order.iter().map(|&place| of_rows[place as usize]).collect();
                }
            }
        }
        self.admit(model)
    }
}

fn newest_tokens<'l>(live: &'l [LiveRow<'_>]) -> impl Iterator<Item = u32> + use<'l> {
    live.iter().filter_map(|live| live.tokens.last().copied())
}

/// The first block that some edit of each row changes at the last prompt position, the number of blocks if there is none.
/// Empty if the observer needs to see more of that position than the residual stream between blocks.
fn first_edited_blocks<B: Backend>(config: &ModelConfig, request: &GenerationRequest<'_, B>) -> Vec<u32> {
    let between_blocks = |site: &Site| matches!(site, Site::ResidPre(_) | Site::ResidPost(_));
    if let Some(observer) = request.observer.as_deref()
        && Site::all(config)
            .iter()
            .any(|site| !between_blocks(site) && observer.wants(*site))
    {
        return Vec::new();
    }
    let mut first = vec![config.n_layers as u32; request.prompts.count()];
    for intervention in request.program.iter().flat_map(|program| &program.interventions) {
        if intervention.positions == Positions::Generated {
            continue;
        }
        let block = match intervention.site {
            Site::ResidPost(layer) => layer + 1,
            Site::NormScale(Norm::Final) | Site::NormNormalized(Norm::Final) => config.n_layers as u32,
            site => site.layer().unwrap_or(0),
        };
        let rows = match intervention.rows {
            BatchRows::All => 0..first.len(),
            BatchRows::One(row) => row as usize..row as usize + 1,
        };
        for first in &mut first[rows] {
            *first = (*first).min(block);
        }
    }
    first
}

/// Whether a row ends with its newest token.
fn stop_reason<B: Backend>(
    live: &mut LiveRow<'_>,
    token: u32,
    eos_token_ids: &[u32],
    request: &mut GenerationRequest<'_, B>,
    model: &Model<B>,
) -> Result<Option<StopReason>, GenerateError> {
    if eos_token_ids.contains(&token) {
        return Ok(Some(StopReason::EndOfSequence));
    }
    let row = live.row as usize;
    if let Some(text) = &mut live.text {
        let found = text
            .push(token, request.stop_strings)
            .map_err(|source| GenerateError::Text { row, source })?;
        if let Some(index) = found {
            return Ok(Some(StopReason::StopString(index)));
        }
    }
    let text = live.text.as_ref().map(RowText::text);
    if let Some(rule) = request.stop_rule.as_deref_mut()
        && rule.stops(row, &live.tokens, text)
    {
        return Ok(Some(StopReason::Rule));
    }
    if live.tokens.len() >= request.max_new_tokens {
        return Ok(Some(StopReason::MaxNewTokens));
    }
    // The next pass would stand at this position.
    let next = live.prompt_length as usize + live.tokens.len() - 1;
    Ok((next >= model.config().max_positions).then_some(StopReason::ContextFull))
}
