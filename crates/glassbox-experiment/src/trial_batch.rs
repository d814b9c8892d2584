//! One unit of work: a batch of trials of one prompt, each row with its own intervention.

use std::collections::BTreeMap;
use std::sync::Arc;

use glassbox_dictionary::FeatureEdit;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::forward::{SiteView, SiteVisitor, Workspace};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{ChosenToken, GenerationObserver, GenerationRequest, Prompts, StopRule};
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampling};
use glassbox_model::site::Site;

use crate::arm::Arm;
use crate::edges::RecordedFeature;
use crate::error::ExperimentError;
use crate::outcome::{Parser, UNKNOWN};
use crate::scenario::{InterventionKind, InterventionPositions, Scenario};
use crate::session::Session;
use crate::tables::{PlanRow, TrialRow};

/// Activations of one feature over one replay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FeatureSums {
    /// Sum over generated tokens.
    pub sum: f64,
    /// Largest value over generated tokens.
    pub max: f32,
    /// Generated tokens on which it was active.
    pub active_tokens: u32,
    /// Value at the last prompt position.
    pub at_prompt_end: f32,
}

/// What was recorded of one replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayRecord {
    /// Generated tokens that were fed back: all but the last.
    pub tokens: u32,
    /// Every feature that was active at least once.
    pub features: BTreeMap<RecordedFeature, FeatureSums>,
    /// Every activation, as (position from the first generated token with −1 for the last prompt position, layer, feature,
    /// value); only if asked for.
    pub activations: Vec<(i64, u32, u32, f32)>,
}

/// What a unit is asked to record besides its trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Nothing.
    None,
    /// Sums per trial.
    Sums,
    /// Sums per trial and every activation.
    Activations,
}

/// The trials of one unit, in the order of the plan, and their records (empty without recording).
#[derive(Clone, Debug, Default)]
pub struct UnitResult {
    /// The trials.
    pub trials: Vec<TrialRow>,
    /// One record per trial if asked for.
    pub records: Vec<ReplayRecord>,
    /// Tokens generated.
    pub tokens: u64,
}

/// Everything that the units of a run share.
#[derive(Debug, Clone, Copy)]
pub struct TrialContext<'a> {
    /// Model and dictionaries.
    pub session: &'a Session,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The scenario's parser.
    pub parser: &'a Parser,
    /// Name of the run in the tables.
    pub run: &'a str,
}

impl TrialContext<'_> {
    /// Runs one unit. All rows belong to the prompt of this text.
    ///
    /// # Errors
    /// Those of the model and the dictionaries; an intervention that never fired.
    pub fn run_unit(
        &self,
        workspace: &mut Workspace<CpuBackend>,
        prompt_text: &str,
        rows: &[PlanRow],
        recording: Recording,
    ) -> Result<UnitResult, ExperimentError> {
        let settings = &self.scenario.sweep;
        let model = self.session.model();
        let prompt = self.session.encode(prompt_text)?;
        let program = self.program(rows)?;
        let keys: Vec<RandomKey> = rows.iter().map(|row| self.random_key(row)).collect();
        let prompt_rows = vec![0_u32; rows.len()];
        // Edits inside the prompt need the prompt computed row by row.
        let whole_prompts;
        let prefix;
        let prompts = if settings.positions == InterventionPositions::All {
            whole_prompts = vec![prompt.clone(); rows.len()];
            Prompts::Own(&whole_prompts)
        } else {
            prefix = model.prefill_shared(workspace, std::slice::from_ref(&prompt))?;
            Prompts::Shared {
                prefix: &prefix,
                rows: &prompt_rows,
            }
        };
        let mut rule = StopWhenDecided { parser: self.parser };
        let mut recorder = Recorder::new(self.session, rows.len(), recording);
        let mut request = GenerationRequest::new(prompts, settings.max_new_tokens)
            .sampling(self.sampling(), &keys)
            .program(&program)
            .text(self.session.tokenizer())
            .top_logits(settings.top_logits);
        if settings.stop_when_decided {
            request = request.stop_rule(&mut rule);
        }
        if recording != Recording::None {
            request = request.observer(&mut recorder);
        }
        let generated = model.generate(workspace, request)?;
        let mut result = UnitResult {
            records: recorder.finish(),
            ..UnitResult::default()
        };
        for (row, generated) in rows.iter().zip(generated) {
            result.tokens += generated.tokens.len() as u64;
            let response = self.session.response_text(&prompt, &generated.tokens)?;
            let outcome = self.parser.parse(&response);
            let (mut ids, mut values) = (Vec::new(), Vec::new());
            for entries in &generated.top_logits {
                ids.extend_from_slice(&entries.indices);
                values.extend_from_slice(&entries.values);
            }
            result.trials.push(TrialRow {
                run: self.run.to_owned(),
                unit: row.unit,
                prompt_id: row.prompt_id.clone(),
                family: row.family.clone(),
                arm: row.arm.clone(),
                layer: row.layer,
                feature: row.feature,
                matched_feature: row.matched_feature,
                value: row.value,
                trial: row.trial,
                text: response,
                token_ids: generated.tokens,
                stop_reason: generated.stop.name().to_owned(),
                outcome: outcome.label,
                amount: outcome.amount,
                parser: self.parser.id(),
                parser_hash: self.parser.hash().to_owned(),
                top_logit_ids: ids,
                top_logit_values: values,
            });
        }
        Ok(result)
    }

    fn sampling(&self) -> Sampling {
        let settings = &self.scenario.sweep;
        if settings.temperature == 0.0 {
            return Sampling::Greedy;
        }
        Sampling::Random(RandomSampling {
            temperature: settings.temperature,
            top_k: (settings.top_k > 0).then_some(settings.top_k),
            top_p: (settings.top_p < 1.0).then_some(settings.top_p),
        })
    }

    /// The randomness of a trial: of the scenario, prompt and trial number, and of nothing else, so that all arms share it.
    fn random_key(&self, row: &PlanRow) -> RandomKey {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.scenario.name, &row.family, &row.prompt_id] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut prompt = [0_u8; 8];
        prompt.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        RandomKey {
            run_seed: self.scenario.seed,
            prompt: u64::from_le_bytes(prompt),
            trial: u64::from(row.trial),
        }
    }

    /// One intervention per row that has one; equal interventions are compiled once.
    fn program(&self, rows: &[PlanRow]) -> Result<RowProgram<CpuBackend>, ExperimentError> {
        let settings = &self.scenario.sweep;
        let positions = match settings.positions {
            InterventionPositions::LastAndGenerated => Positions::LastAndGenerated,
            InterventionPositions::LastOfPrompt => Positions::LastOfPrompt,
            InterventionPositions::All => Positions::All,
        };
        type Key = (u32, Option<u32>, Option<u64>);
        let mut compiled: BTreeMap<Key, Arc<dyn RowEdit<CpuBackend>>> = BTreeMap::new();
        let mut program = RowProgram::default();
        for (index, row) in (0..).zip(rows) {
            let Some(layer) = row.layer else { continue };
            let key = (layer, row.feature, row.value.map(f64::to_bits));
            let edit = match compiled.get(&key) {
                Some(edit) => Arc::clone(edit),
                None => {
                    let edit = self.edit(row, settings.intervention)?;
                    let compiled_edit = edit.compile(&self.session.dictionary(layer)?)?;
                    compiled.insert(key, Arc::clone(&compiled_edit));
                    compiled_edit
                }
            };
            program.interventions.push(RowIntervention {
                rows: BatchRows::One(index),
                site: Site::ResidPost(layer),
                positions: positions.clone(),
                heads: None,
                edit,
            });
        }
        Ok(program)
    }

    fn edit(&self, row: &PlanRow, kind: InterventionKind) -> Result<FeatureEdit, ExperimentError> {
        match (Arm::from_name(&row.arm)?, row.feature, row.value) {
            (Arm::ReconstructOnly, None, None) => Ok(FeatureEdit::ReconstructOnly),
            (Arm::ValueA | Arm::ValueB | Arm::ControlA | Arm::ControlB, Some(feature), Some(value)) => {
                let value = value as f32;
                Ok(match kind {
                    InterventionKind::Delta => FeatureEdit::SetByDelta { feature, value },
                    InterventionKind::Reconstruction => FeatureEdit::SetByReconstruction { feature, value },
                })
            }
            _ => Err(ExperimentError::Data {
                stage: "sweep",
                what: format!(
                    "the plan holds a trial that makes no sense: {row:?}; the plan file is damaged"
                ),
            }),
        }
    }
}

/// Ends a row at the end of a line once the parser reads an outcome.
struct StopWhenDecided<'a> {
    parser: &'a Parser,
}

impl StopRule for StopWhenDecided<'_> {
    fn stops(&mut self, _row: usize, _tokens: &[u32], text: Option<&str>) -> bool {
        text.is_some_and(|text| text.ends_with('\n') && self.parser.parse(text).label != UNKNOWN)
    }
}

/// Records the features of every layer while trials run.
struct Recorder<'a> {
    session: &'a Session,
    layers: Vec<u32>,
    recording: Recording,
    records: Vec<ReplayRecord>,
}

impl<'a> Recorder<'a> {
    fn new(session: &'a Session, rows: usize, recording: Recording) -> Self {
        let rows = if recording == Recording::None { 0 } else { rows };
        Self {
            session,
            layers: session.layers(),
            recording,
            records: vec![ReplayRecord::default(); rows],
        }
    }

    fn finish(self) -> Vec<ReplayRecord> {
        self.records
    }
}

impl SiteVisitor<CpuBackend> for Recorder<'_> {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPost(layer) if self.layers.contains(&layer))
    }

    fn visit(&mut self, backend: &CpuBackend, view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        let Site::ResidPost(layer) = view.site else {
            return Ok(());
        };
        let last = crate::capture::last_rows(backend, view)?;
        let rows = view.layout.batch();
        let sparse = self.session.encode_buffer(layer, &last, rows)?;
        let first_layer = self.layers.first() == Some(&layer);
        for batch_row in 0..rows {
            let record = &mut self.records[view.layout.row_id(batch_row) as usize];
            let prompt_length = i64::from(view.layout.prompt_length(batch_row));
            let position = view
                .layout
                .position(batch_row, view.layout.queries() - 1)
                .map_or(0, i64::from);
            let from_first_generated = position - prompt_length;
            // A prompt computed in pieces passes here at positions before its end.
            if from_first_generated < -1 {
                continue;
            }
            let at_prompt_end = from_first_generated == -1;
            if first_layer && !at_prompt_end {
                record.tokens += 1;
            }
            let (features, values) = sparse.row(batch_row);
            for (&feature, &value) in features.iter().zip(values) {
                let sums = record.features.entry((layer, feature)).or_default();
                if at_prompt_end {
                    sums.at_prompt_end = value;
                } else {
                    sums.sum += f64::from(value);
                    sums.max = sums.max.max(value);
                    sums.active_tokens += 1;
                }
                if self.recording == Recording::Activations {
                    record
                        .activations
                        .push((from_first_generated, layer, feature, value));
                }
            }
        }
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Recorder<'_> {
    fn chosen(&mut self, _step: usize, _tokens: &[ChosenToken]) -> Result<(), VisitError> {
        Ok(())
    }
}
