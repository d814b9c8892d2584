//! What is gathered of one dictionary while tokens go by.

use glassbox_kernels::Backend;

use crate::encoding::Encoding;
use crate::error::{InterpretationError, Result};
use crate::evaluation::clusters::Clusters;
use crate::evaluation::distribution_check::DistributionCheck;
use crate::evaluation::evaluate::{EvaluationSettings, EvaluationSubject};
use crate::evaluation::evaluation_report::{Evaluation, Figure, LossFigures};
use crate::evaluation::loss_sums::LossSums;
use crate::evaluation::reconstruction_sums::ReconstructionSums;
use crate::evaluation::sparsity_sums::SparsitySums;

/// Sums over the tokens that count.
pub(super) struct SubjectSums {
    /// A vector near the mean of the written site, from which sums per document are taken; also what mean ablation writes.
    pub(super) reference: Vec<f32>,
    pub(super) clusters: Clusters,
    reconstruction: ReconstructionSums,
    sparsity: SparsitySums,
    /// Σ‖x‖ of the read site, where another one is written.
    norms_read: Option<f64>,
}

impl SubjectSums {
    pub(super) fn new(reference: Vec<f32>, features: usize) -> Self {
        Self {
            reconstruction: ReconstructionSums::new(reference.len()),
            sparsity: SparsitySums::new(features),
            clusters: Clusters::default(),
            norms_read: None,
            reference,
        }
    }

    /// Adds tokens: their documents [n], the values of the read site [n, width] where another one is written, the values of the
    /// written site [n, output width], and what the dictionary makes of them.
    pub(super) fn push(
        &mut self,
        documents: &[u64],
        read_values: Option<&[f32]>,
        targets: &[f32],
        encoding: &Encoding,
    ) {
        if documents.is_empty() {
            return;
        }
        let width = self.reference.len();
        if let Some(values) = read_values {
            let rows = values.chunks_exact(values.len() / documents.len());
            let norms = rows.map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
            *self.norms_read.get_or_insert_default() += norms.sum::<f64>();
        }
        self.reconstruction.push(targets, &encoding.reconstruction);
        for (i, document) in documents.iter().enumerate() {
            self.sparsity.push(encoding.features.row(i).0);
            let cluster = self.clusters.of(*document);
            cluster.tokens += 1;
            cluster.sum.resize(width, 0.0);
            let x = &targets[i * width..(i + 1) * width];
            let out = &encoding.reconstruction[i * width..(i + 1) * width];
            for j in 0..width {
                let from_reference = f64::from(x[j]) - f64::from(self.reference[j]);
                cluster.sum[j] += from_reference;
                cluster.squared += from_reference * from_reference;
                cluster.error += (f64::from(x[j]) - f64::from(out[j])).powi(2);
            }
        }
    }

    /// The figures; losses are those of the clusters, with mean ablation by a mean over `mean_tokens`.
    pub(super) fn report<B: Backend>(
        self,
        given: &EvaluationSubject<B>,
        mean_tokens: Option<u64>,
        settings: &EvaluationSettings,
    ) -> Result<Evaluation> {
        let description = given.dictionary.description();
        let nothing = || InterpretationError::NoTokens {
            what: "the corpus".to_owned(),
            site: Some(description.site),
            remedy: "give documents with more than one token",
        };
        let reconstruction = self.reconstruction.figures().ok_or_else(nothing)?;
        let sparsity = self.sparsity.figures().ok_or_else(nothing)?;
        let shift: Vec<f64> = self
            .reconstruction
            .mean()
            .iter()
            .zip(&self.reference)
            .map(|(mean, reference)| mean - f64::from(*reference))
            .collect();
        // The same documents are drawn for every dictionary: its figures do not depend on the others, and can be compared.
        let key = |statistic| [settings.seed, 0, statistic, 0];
        let explained_variance = self.clusters.explained_variance(&shift, &key(0))?;
        let norm_read = self
            .norms_read
            .map_or(reconstruction.mean_norm, |sum| sum / reconstruction.tokens as f64);
        let distribution = DistributionCheck::new(&reconstruction, norm_read, given.at_training);
        Ok(Evaluation {
            name: given.name.clone(),
            site: description.site,
            output_site: description.output_site,
            documents: self.clusters.documents() as u64,
            loss: match mean_tokens {
                Some(mean_tokens) => self.losses(mean_tokens, &key)?,
                None => None,
            },
            reconstruction,
            explained_variance,
            sparsity,
            position_zero: None,
            distribution,
        })
    }

    fn losses(&self, mean_from_tokens: u64, key: &dyn Fn(u64) -> [u64; 4]) -> Result<Option<LossFigures>> {
        let total = self.clusters.total_loss();
        if total.predictions == 0 {
            return Ok(None);
        }
        let n = total.predictions as f64;
        let mean_divergence = |sums: &LossSums| {
            (sums.predictions > 0).then(|| sums.divergence_spliced / sums.predictions as f64)
        };
        let divergence = self.clusters.of_losses(&key(3), mean_divergence)?;
        Ok(Some(LossFigures {
            predictions: total.predictions,
            clean: total.clean / n,
            spliced: total.spliced / n,
            zero_ablated: total.zero / n,
            mean_ablated: total.mean / n,
            mean_from_tokens,
            recovered_against_zero: self
                .clusters
                .of_losses(&key(1), |sums| sums.recovered(sums.zero))?,
            recovered_against_mean: self
                .clusters
                .of_losses(&key(2), |sums| sums.recovered(sums.mean))?,
            divergence_spliced: divergence.unwrap_or(Figure {
                estimate: total.divergence_spliced / n,
                low: None,
                high: None,
            }),
            divergence_zero: total.divergence_zero / n,
            divergence_mean: total.divergence_mean / n,
        }))
    }
}
