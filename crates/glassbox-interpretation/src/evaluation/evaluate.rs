//! Evaluates dictionaries inside their model.

use std::collections::BTreeSet;
use std::sync::Arc;

use glassbox_corpus::TokenRow;
use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::edits::{Set, Zero};
use glassbox_model::forward::{ForwardRequest, LogitPosition, LogitPositions, Residual, Start, Workspace};
use glassbox_model::model::Model;
use glassbox_model::site::Site;

use crate::encoding::{Encoding, encode_tokens};
use crate::error::{InterpretationError, Result};
use crate::evaluation::distribution_check::TrainingFigures;
use crate::evaluation::evaluation_report::{Evaluation, PositionZeroFigures};
use crate::evaluation::loss_sums::{LossSums, TokenLoss, token_losses};
use crate::evaluation::reconstruction_sums::ReconstructionSums;
use crate::evaluation::sparsity_sums::SparsitySums;
use crate::evaluation::subject_sums::SubjectSums;
use crate::rows::PassRows;
use crate::site_pass::{SiteRequest, SiteValues, site_values};
use crate::watch::Watch;

/// Elements of logits that one pass may leave, about.
const LOGITS_PER_PASS: usize = 1 << 24;

/// A dictionary to be evaluated.
#[derive(Debug)]
pub struct EvaluationSubject<B: Backend> {
    /// Its name in the report.
    pub name: String,
    /// The dictionary.
    pub dictionary: Arc<Dictionary<B>>,
    /// What was measured when it was trained, where its files say.
    pub at_training: Option<TrainingFigures>,
}

/// How to evaluate.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationSettings {
    /// Whether the model's loss is measured with the dictionary in place.
    pub losses: bool,
    /// Tokens that the site's mean for mean ablation is taken over, before anything else.
    pub mean_from_tokens: usize,
    /// Tokens of a pass at most.
    pub tokens_per_pass: usize,
    /// Key of the bootstrap.
    pub seed: u64,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            losses: true,
            mean_from_tokens: 16_384,
            tokens_per_pass: 2048,
            seed: 0,
        }
    }
}

/// What is gathered of one dictionary.
struct Subject<'a, B: Backend> {
    given: &'a EvaluationSubject<B>,
    sums: SubjectSums,
    dropped: ReconstructionSums,
    dropped_sparsity: SparsitySums,
}

/// Evaluates dictionaries on rows of held-out tokens, all in the same passes.
///
/// Per pass: one clean pass that shows every site, then for each dictionary three passes that begin with the block of the written
/// site, where the tokens that count get the reconstruction, zeros, and the mean. Losses are those of the next token within
/// the same document, at tokens that count.
///
/// # Errors
/// [`InterpretationError::NoTokens`] if no token counts; those of the model and of the dictionaries.
pub fn evaluate<B: Backend>(
    model: &Model<B>,
    subjects: &[EvaluationSubject<B>],
    rows: &[TokenRow],
    settings: &EvaluationSettings,
    watch: &dyn Watch,
) -> Result<Vec<Evaluation>> {
    for subject in subjects {
        subject
            .dictionary
            .description()
            .check_model(model.config(), None)?;
    }
    let sites: BTreeSet<Site> = subjects
        .iter()
        .flat_map(|subject| {
            let description = subject.dictionary.description();
            [description.site, description.output_site]
        })
        .collect();
    let blocks: BTreeSet<u32> = subjects
        .iter()
        .filter_map(|subject| start_block(subject.dictionary.description().output_site))
        .collect();
    let request = SiteRequest {
        sites: sites.into_iter().collect(),
        dropped: true,
        residuals: if settings.losses {
            blocks.into_iter().collect()
        } else {
            Vec::new()
        },
    };
    let mut workspace = model.workspace();
    let passes = split(rows, settings, model.config().vocab_size);
    let (means, mean_tokens) = means(model, &mut workspace, &passes, &request.sites, settings)?;
    let mut gathered: Vec<Subject<'_, B>> = subjects
        .iter()
        .map(|given| {
            let description = given.dictionary.description();
            let width = given.dictionary.output_width();
            let place = request
                .sites
                .iter()
                .position(|site| *site == description.output_site);
            let mean = place.map(|place| means[place].clone()).unwrap_or_default();
            Subject {
                given,
                sums: SubjectSums::new(mean, description.features),
                dropped: ReconstructionSums::new(width),
                dropped_sparsity: SparsitySums::new(description.features),
            }
        })
        .collect();
    let total: usize = rows.iter().map(|row| row.tokens.len()).sum();
    let mut done = 0;
    let mut dropped_loss = (0_u64, 0.0_f64);
    for rows in passes {
        if watch.should_stop() {
            return Err(InterpretationError::Stopped {
                done,
                total: total as u64,
            });
        }
        let pass = PassRows::new(rows)?;
        evaluate_pass(
            model,
            &mut workspace,
            &pass,
            &request,
            settings,
            &mut gathered,
            &mut dropped_loss,
        )?;
        done += pass.tokens() as u64;
        watch.advanced(pass.tokens() as u64);
    }
    gathered
        .into_iter()
        .map(|subject| subject.report(mean_tokens, dropped_loss, settings))
        .collect()
}

/// The block from which a pass can begin whose edit is at this site.
fn start_block(site: Site) -> Option<u32> {
    match site {
        Site::Embed | Site::PosEmbed => None,
        site => site.layer(),
    }
}

/// Runs of rows that go through the model together.
fn split<'a>(rows: &'a [TokenRow], settings: &EvaluationSettings, vocab: usize) -> Vec<&'a [TokenRow]> {
    let limit = settings
        .tokens_per_pass
        .min(LOGITS_PER_PASS / vocab.max(1))
        .max(1);
    let mut passes = Vec::new();
    let (mut first, mut longest) = (0, 0);
    for (i, row) in rows.iter().enumerate() {
        longest = longest.max(row.tokens.len());
        if i > first && longest * (i + 1 - first) > limit {
            passes.push(&rows[first..i]);
            first = i;
            longest = row.tokens.len();
        }
    }
    if first < rows.len() {
        passes.push(&rows[first..]);
    }
    passes
}

/// The mean of each site over the first tokens that count, and how many these are.
fn means<B: Backend>(
    model: &Model<B>,
    workspace: &mut Workspace<B>,
    passes: &[&[TokenRow]],
    sites: &[Site],
    settings: &EvaluationSettings,
) -> Result<(Vec<Vec<f32>>, u64)> {
    let request = SiteRequest {
        sites: sites.to_vec(),
        ..SiteRequest::default()
    };
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); sites.len()];
    let mut tokens = 0;
    for rows in passes {
        let pass = PassRows::new(rows)?;
        if pass.kept.is_empty() {
            continue;
        }
        let values = site_values(model, workspace, &pass, &request, LogitPositions::None)?;
        for (site, sum) in sites.iter().zip(&mut sums) {
            let host = read(model.backend(), &values.kept[site])?;
            let width = host.len() / pass.kept.len();
            sum.resize(width, 0.0);
            for row in host.chunks_exact(width) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        tokens += pass.kept.len();
        if tokens >= settings.mean_from_tokens {
            break;
        }
    }
    if tokens == 0 {
        return Err(InterpretationError::NoTokens {
            what: "the corpus".to_owned(),
            site: sites.first().copied(),
            remedy: "give held-out documents with more than one token",
        });
    }
    let means = sums
        .iter()
        .map(|sum| sum.iter().map(|sum| (sum / tokens as f64) as f32).collect())
        .collect();
    Ok((means, tokens as u64))
}

fn evaluate_pass<B: Backend>(
    model: &Model<B>,
    workspace: &mut Workspace<B>,
    pass: &PassRows<'_>,
    request: &SiteRequest,
    settings: &EvaluationSettings,
    subjects: &mut [Subject<'_, B>],
    dropped_loss: &mut (u64, f64),
) -> Result<()> {
    let vocab = model.config().vocab_size;
    let predicted: Vec<((u32, u32), u32)> = pass
        .kept
        .iter()
        .filter_map(|token| pass.next_token(*token).map(|next| (*token, next)))
        .collect();
    let predicted_at_dropped: Vec<((u32, u32), u32)> = pass
        .dropped
        .iter()
        .filter_map(|token| pass.next_token(*token).map(|next| (*token, next)))
        .collect();
    let places = |of: &[((u32, u32), u32)]| -> Vec<LogitPosition> {
        of.iter()
            .map(|((row, position), _)| LogitPosition {
                row: *row,
                position: *position,
            })
            .collect()
    };
    let targets: Vec<u32> = predicted.iter().map(|(_, next)| *next).collect();
    let mut at = places(&predicted);
    let kept_logits = at.len();
    at.extend(places(&predicted_at_dropped));
    let logits = if settings.losses && !at.is_empty() {
        LogitPositions::Chosen(at.clone())
    } else {
        LogitPositions::None
    };
    let with_losses = logits != LogitPositions::None;
    let values = site_values(model, workspace, pass, request, logits)?;
    let mut clean_logits = Vec::new();
    let mut clean = Vec::new();
    if with_losses {
        clean_logits.resize(at.len() * vocab, 0.0);
        model.backend().read(workspace.logits(), 0, &mut clean_logits)?;
        let dropped_targets: Vec<u32> = predicted_at_dropped.iter().map(|(_, next)| *next).collect();
        for loss in token_losses(
            &clean_logits[kept_logits * vocab..],
            None,
            &dropped_targets,
            vocab,
        ) {
            dropped_loss.0 += 1;
            dropped_loss.1 += loss.cross_entropy;
        }
        clean_logits.truncate(kept_logits * vocab);
        at.truncate(kept_logits);
        clean = token_losses(&clean_logits, None, &targets, vocab);
    }
    for subject in subjects {
        let encoding = subject.measure(model.backend(), pass, &values)?;
        if !with_losses || at.is_empty() {
            continue;
        }
        let description = subject.given.dictionary.description();
        let site = description.output_site;
        let losses = |program: &RowProgram<B>, workspace: &mut Workspace<B>| -> Result<Vec<TokenLoss>> {
            let mut forward = ForwardRequest::new(&pass.batch)
                .program(program)
                .logits(LogitPositions::Chosen(at.clone()));
            if let Some(block) = start_block(site) {
                forward = forward.start(Start::Layer {
                    layer: block,
                    residual: Residual::Device(&values.residuals[&block]),
                });
            }
            model.forward_on_device(workspace, forward)?;
            let mut logits = vec![0.0; at.len() * vocab];
            model.backend().read(workspace.logits(), 0, &mut logits)?;
            Ok(token_losses(&logits, Some(&clean_logits), &targets, vocab))
        };
        let width = subject.sums.reference.len();
        let spliced = splice(model.backend(), pass, site, &encoding.reconstruction, width)?;
        let spliced = losses(&spliced, workspace)?;
        let zero = losses(&everywhere(pass, site, Arc::new(Zero)), workspace)?;
        let mean: Arc<dyn RowEdit<B>> = Arc::new(Set::new(model.backend(), &subject.sums.reference)?);
        let mean = losses(&everywhere(pass, site, mean), workspace)?;
        for (i, (token, _)) in predicted.iter().enumerate() {
            subject
                .sums
                .clusters
                .of(pass.document(*token))
                .loss
                .add(&LossSums {
                    predictions: 1,
                    clean: clean[i].cross_entropy,
                    spliced: spliced[i].cross_entropy,
                    zero: zero[i].cross_entropy,
                    mean: mean[i].cross_entropy,
                    divergence_spliced: spliced[i].divergence,
                    divergence_zero: zero[i].divergence,
                    divergence_mean: mean[i].divergence,
                });
        }
    }
    Ok(())
}

/// Positions of each row that count, rows without one left out.
fn kept_positions(pass: &PassRows<'_>) -> Vec<(u32, Vec<u32>)> {
    let mut rows: Vec<(u32, Vec<u32>)> = Vec::new();
    for (row, position) in &pass.kept {
        match rows.last_mut() {
            Some((last, positions)) if last == row => positions.push(*position),
            _ => rows.push((*row, vec![*position])),
        }
    }
    rows
}

/// Puts row i of `values` [kept, width] in the place of the i-th kept token.
fn splice<B: Backend>(
    backend: &B,
    pass: &PassRows<'_>,
    site: Site,
    values: &[f32],
    width: usize,
) -> Result<RowProgram<B>> {
    let mut interventions = Vec::new();
    let mut at = 0;
    for (row, positions) in kept_positions(pass) {
        let count = positions.len() * width;
        let edit = Arc::new(Set::rows(backend, &values[at..at + count], width)?);
        interventions.push(intervention(row, positions, site, edit));
        at += count;
    }
    Ok(RowProgram { interventions })
}

/// Does the same at every kept token.
fn everywhere<B: Backend>(pass: &PassRows<'_>, site: Site, edit: Arc<dyn RowEdit<B>>) -> RowProgram<B> {
    let interventions = kept_positions(pass)
        .into_iter()
        .map(|(row, positions)| intervention(row, positions, site, Arc::clone(&edit)))
        .collect();
    RowProgram { interventions }
}

fn intervention<B: Backend>(
    row: u32,
    positions: Vec<u32>,
    site: Site,
    edit: Arc<dyn RowEdit<B>>,
) -> RowIntervention<B> {
    RowIntervention {
        rows: BatchRows::One(row),
        site,
        positions: Positions::Absolute(positions),
        heads: None,
        edit,
    }
}

fn read<B: Backend>(backend: &B, buffer: &B::Buffer) -> Result<Vec<f32>> {
    let mut values = vec![0.0; backend.len(buffer)];
    backend.read(buffer, 0, &mut values)?;
    Ok(values)
}

impl<B: Backend> Subject<'_, B> {
    /// Adds the tokens of a pass, and returns what the dictionary makes of those that count.
    fn measure(&mut self, backend: &B, pass: &PassRows<'_>, values: &SiteValues<B>) -> Result<Encoding> {
        let description = self.given.dictionary.description();
        let (site, output_site) = (description.site, description.output_site);
        let encoding = encode_tokens(&self.given.dictionary, &values.kept[&site], pass.kept.len(), true)?;
        let targets = read(backend, &values.kept[&output_site])?;
        let documents: Vec<u64> = pass.kept.iter().map(|token| pass.document(*token)).collect();
        let read_values = if site == output_site {
            None
        } else {
            Some(read(backend, &values.kept[&site])?)
        };
        self.sums
            .push(&documents, read_values.as_deref(), &targets, &encoding);
        let n = pass.dropped.len();
        if n > 0 {
            let dropped = encode_tokens(&self.given.dictionary, &values.dropped[&site], n, true)?;
            let targets = read(backend, &values.dropped[&output_site])?;
            self.dropped.push(&targets, &dropped.reconstruction);
            (0..n).for_each(|i| self.dropped_sparsity.push(dropped.features.row(i).0));
        }
        Ok(encoding)
    }

    fn report(
        self,
        mean_tokens: u64,
        dropped_loss: (u64, f64),
        settings: &EvaluationSettings,
    ) -> Result<Evaluation> {
        let mut evaluation = self.sums.report(self.given, Some(mean_tokens), settings)?;
        evaluation.position_zero = match (self.dropped.figures(), self.dropped_sparsity.figures()) {
            (Some(reconstruction), Some(sparsity)) => Some(PositionZeroFigures {
                reconstruction,
                l0: sparsity.l0,
                loss: (dropped_loss.0 > 0).then(|| dropped_loss.1 / dropped_loss.0 as f64),
            }),
            _ => None,
        };
        Ok(evaluation)
    }
}
