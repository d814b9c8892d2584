//! One unit of work: trials of one prompt, each with its own intervention, computed in batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use glassbox_dictionary::FeatureEdit;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::edit::{BatchRows, RowEdit, RowIntervention, RowProgram};
use glassbox_model::forward::Workspace;
use glassbox_model::generate::{GenerationRequest, Prompts, StopRule};
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampling};
use glassbox_model::site::Site;

use crate::arm::Arm;
use crate::error::ExperimentError;
use crate::recording::{Progress, Recorder, Recording, ReplayRecord};
use crate::scenario::{InterventionKind, InterventionPositions, Scenario, StopWhenDecided};
use crate::session::Session;
use crate::tables::{PlanRow, TrialRow};
use glassbox_outcome::{Outcome, Parser, UNKNOWN};

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
#[derive(Clone, Copy)]
pub struct TrialContext<'a> {
    /// Model and dictionaries.
    pub session: &'a Session,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The scenario's parser.
    pub parser: &'a Parser,
    /// Name of the run in the tables.
    pub run: &'a str,
    /// How often each baseline trial is run: once, unless the cost of not pooling them is to be seen.
    pub baseline_runs: usize,
    /// Is told of trials and tokens while a unit runs.
    pub progress: Progress<'a>,
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
        recording: Recording<'_>,
    ) -> Result<UnitResult, ExperimentError> {
        let settings = &self.scenario.sweep;
        let model = self.session.model();
        let prompt = self.session.encode(prompt_text)?;
        let repeated: Vec<PlanRow>;
        let (wanted_rows, rows) = match self.baseline_runs {
            0 | 1 => (rows.len(), rows),
            runs => {
                let baseline = rows.iter().filter(|row| row.layer.is_none());
                let again = (1..runs).flat_map(|_| baseline.clone());
                repeated = rows.iter().chain(again).cloned().collect();
                (rows.len(), repeated.as_slice())
            }
        };
        let program = self.program(rows)?;
        let keys: Vec<RandomKey> = rows.iter().map(|row| self.random_key(row)).collect();
        let prompt_rows = vec![0_u32; rows.len()];
        // Edits inside the prompt need the prompt computed row by row.
        let whole_prompts;
        let prefix;
        let prompts = if settings.positions == InterventionPositions::All || !settings.engine.share_prefix {
            whole_prompts = vec![prompt.clone(); rows.len()];
            Prompts::Own(&whole_prompts)
        } else {
            prefix = model.prefill_shared(workspace, std::slice::from_ref(&prompt))?;
            Prompts::Shared {
                prefix: &prefix,
                rows: &prompt_rows,
            }
        };
        let mut rule = OutcomeRead {
            parser: self.parser,
            family: rows.first().map(|row| row.family.as_str()),
            anywhere: settings.stop_when_decided == StopWhenDecided::AnyToken,
        };
        let mut recorder = Recorder::new(self.session, rows.len(), recording, self.progress);
        let mut request = GenerationRequest::new(prompts, settings.max_new_tokens)
            .sampling(self.sampling(), &keys)
            .program(&program)
            .live_rows(settings.batch_rows)
            .continuous(settings.engine.continuous)
            .resume_at_edit(settings.engine.resume_at_edit)
            .text(self.session.tokenizer())
            .top_logits(settings.top_logits);
        if settings.stop_when_decided != StopWhenDecided::Never {
            request = request.stop_rule(&mut rule);
        }
        request = request.observer(&mut recorder);
        let generated = model.generate(workspace, request)?;
        let (records, mut wanted) = recorder.finish();
        let mut result = UnitResult {
            records,
            ..UnitResult::default()
        };
        for (index, (row, generated)) in rows.iter().zip(generated).take(wanted_rows).enumerate() {
            result.tokens += generated.tokens.len() as u64;
            let response = self.session.response_text(&prompt, &generated.tokens)?;
            let outcome = self.parser.parse(&response, Some(&row.family));
            let recorded = wanted.get_mut(index).map(std::mem::take).unwrap_or_default();
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
                outcome: outcome.label.to_owned(),
                amount: outcome.amount,
                parser: self.parser.id(),
                parser_hash: self.parser.hash().to_owned(),
                top_logit_ids: ids,
                top_logit_values: values,
                recorded_layers: recorded.layers,
                recorded_features: recorded.features,
                recorded_means: recorded.means,
                recorded_maxima: recorded.maxima,
                recorded_at_prompt_end: recorded.at_prompt_end,
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

    /// The randomness of a trial: of the scenario, prompt and trial number, and of nothing else, so that all arms share it
    /// (unless the scenario switches that off).
    fn random_key(&self, row: &PlanRow) -> RandomKey {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.scenario.name, &row.family, &row.prompt_id] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        if !self.scenario.sweep.engine.common_random_numbers {
            hasher.update(format!("{} {:?} {:?}", row.arm, row.layer, row.feature).as_bytes());
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
        let positions = settings.positions.of_model();
        type Key = (u32, Option<u32>, Option<u64>);
        let mut compiled: BTreeMap<Key, Arc<dyn RowEdit<CpuBackend>>> = BTreeMap::new();
        let mut program = RowProgram::default();
        for (index, row) in (0..).zip(rows) {
            let Some(layer) = row.layer else { continue };
            let key = (layer, row.feature, row.value.map(f64::to_bits));
            let edit = match compiled.get(&key) {
                Some(edit) => Arc::clone(edit),
                None => {
                    let edit = edit_of(row, settings.intervention)?;
                    let dictionary = self.session.dictionary(layer)?;
                    let compiled_edit = match settings.engine.one_row_deltas {
                        true => edit.compile(&dictionary)?,
                        false => edit.compile_from_all_features(&dictionary)?,
                    };
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
}

/// What the arm of a planned trial does to the features, for every arm but the baseline.
///
/// # Errors
/// [`ExperimentError::Data`] for a row that no plan holds.
pub(crate) fn edit_of(row: &PlanRow, kind: InterventionKind) -> Result<FeatureEdit, ExperimentError> {
    match (Arm::from_name(&row.arm)?, row.feature, row.value) {
        (Arm::ReconstructOnly, None, None) => Ok(FeatureEdit::ReconstructOnly),
        (Arm::ValueA | Arm::ValueB | Arm::ControlA | Arm::ControlB, Some(feature), Some(value)) => {
            Ok(kind.set(feature, value as f32))
        }
        _ => Err(ExperimentError::Data {
            stage: "sweep",
            what: format!("the plan holds a trial that makes no sense: {row:?}; the plan file is damaged"),
        }),
    }
}

/// Ends a row once a rule of the parser reads an outcome (a default does not count): after any token, or at the end of a line only.
struct OutcomeRead<'a> {
    parser: &'a Parser,
    family: Option<&'a str>,
    anywhere: bool,
}

impl StopRule for OutcomeRead<'_> {
    fn stops(&mut self, _row: usize, _tokens: &[u32], text: Option<&str>) -> bool {
        text.is_some_and(|text| {
            let is_read = |outcome: Outcome<'_>| outcome.rule.is_some() && outcome.label != UNKNOWN;
            (self.anywhere || text.ends_with('\n')) && is_read(self.parser.parse(text, self.family))
        })
    }
}
