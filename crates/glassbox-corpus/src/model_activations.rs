//! Activations straight from the forward pass.

use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use glassbox_store::Checksum;

use crate::forward_rows::ForwardRows;
use crate::row_batches::KeptRun;
use crate::{
    ActivationBatch, ActivationOrigin, ActivationSource, CorpusError, RowBatch, RowBatches, SourceSite,
    SourceState, TokenRows,
};

/// The activations of a corpus, computed when they are asked for: all sites in one pass, which ends after the last block that they need.
#[derive(Debug)]
pub struct ModelActivations<'a, B: Backend = CpuBackend> {
    forward: ForwardRows<'a, B>,
    batches: RowBatches<'a>,
    model_hash: Option<String>,
    /// Of the corpus.
    content: Checksum,
}

impl<'a, B: Backend> ModelActivations<'a, B> {
    /// Activations at these sites of the rows' tokens, `batch_tokens` at most in one forward pass (padding included). Take `rows` of the
    /// one split that is needed: those of the other are then never computed. `model_hash` is for the record.
    ///
    /// # Errors
    /// [`CorpusError::Sites`] and [`CorpusError::Forward`] if a site cannot be used, [`CorpusError::Store`] if the corpus cannot be read.
    pub fn new(
        model: &'a Model<B>,
        model_hash: Option<String>,
        rows: TokenRows<'a>,
        sites: &[Site],
        batch_tokens: usize,
    ) -> Result<Self, CorpusError> {
        Ok(Self {
            content: rows.documents().fingerprint()?,
            forward: ForwardRows::new(model, sites)?,
            batches: RowBatches::new(rows, batch_tokens),
            model_hash,
        })
    }

    /// The rows of the corpus.
    #[must_use]
    pub fn rows(&self) -> &TokenRows<'a> {
        self.batches.rows()
    }
}

impl<B: Backend> ActivationSource for ModelActivations<'_, B> {
    fn sites(&self) -> &[SourceSite] {
        self.forward.sites()
    }

    fn origin(&self) -> ActivationOrigin {
        let rows = self.batches.rows();
        ActivationOrigin {
            model: self.model_hash.clone(),
            tokenizer: Some(rows.tokenizer().hash().to_owned()),
            documents: Some(rows.documents().source().clone()),
            content: Some(self.content),
            batch_tokens: Some(self.batches.batch_tokens()),
            rows: Some(rows.options().clone()),
        }
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        batch.reset(self.forward.sites());
        let Some(rows) = self.batches.next_batch()? else {
            return Ok(false);
        };
        describe(&rows, batch);
        let runs = rows.kept_runs();
        let sites = self.forward.sites().to_vec();
        let mut collector = Collector {
            sites: &sites,
            runs: &runs,
            batch: &rows,
            values: &mut batch.sites,
        };
        self.forward.run(&rows, Some(&mut collector))?;
        Ok(true)
    }

    fn state(&self) -> SourceState {
        SourceState::Model {
            batches: Box::new(self.batches.state()),
        }
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        match state {
            SourceState::Model { batches } => self.batches.restore(batches),
            other => Err(CorpusError::StateMismatch {
                found: other.kind().to_owned(),
                expected: "a model's forward pass".to_owned(),
            }),
        }
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        self.batches.rewind();
        Ok(())
    }
}

/// Says of every token that is data where it stands.
pub(crate) fn describe(rows: &RowBatch, batch: &mut ActivationBatch) {
    for row in &rows.rows {
        for (position, _) in row.keep.iter().enumerate().filter(|(_, keep)| **keep) {
            batch.tokens.push(row.tokens[position]);
            batch.documents.push(row.documents[position]);
            batch.document_positions.push(row.document_positions[position]);
            batch.rows.push(row.number);
            batch.positions.push(position as u32);
            batch.splits.push(row.split);
        }
    }
}

/// The error for a value at a token of a run.
pub(crate) fn non_finite(
    site: Site,
    batch: &RowBatch,
    run: KeptRun,
    index: usize,
    width: usize,
    value: f32,
) -> CorpusError {
    let (row, position) = (&batch.rows[run.row], run.position + index / width);
    CorpusError::NonFiniteActivation {
        site: site.to_string(),
        document: row.documents[position],
        document_position: row.document_positions[position],
        row: row.number,
        position,
        element: index % width,
        value,
    }
}

/// Copies the rows of tokens that are data, as the pass comes to them.
struct Collector<'a> {
    sites: &'a [SourceSite],
    runs: &'a [KeptRun],
    batch: &'a RowBatch,
    /// One [kept, width] per site.
    values: &'a mut [Vec<f32>],
}

impl<B: Backend> SiteVisitor<B> for Collector<'_> {
    fn wants(&self, site: Site) -> bool {
        self.sites.iter().any(|wanted| wanted.site == site)
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        let place = self.sites.iter().position(|wanted| wanted.site == view.site);
        let Some((values, site)) = place.map(|place| (&mut self.values[place], self.sites[place])) else {
            return Ok(());
        };
        let kept: usize = self.runs.iter().map(|run| run.len).sum();
        values.resize(kept * site.width, 0.0);
        let mut rest = values.as_mut_slice();
        for run in self.runs {
            let (into, after) = rest.split_at_mut(run.len * site.width);
            backend.read(view.buffer, run.slot * site.width, into)?;
            if let Some(index) = into.iter().position(|value| !value.is_finite()) {
                return Err(non_finite(site.site, self.batch, *run, index, site.width, into[index]).into());
            }
            rest = after;
        }
        Ok(())
    }
}
