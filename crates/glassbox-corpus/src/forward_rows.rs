//! Forward passes over batches of rows that compute the sites asked for and nothing after them.

use glassbox_kernels::Backend;
use glassbox_model::forward::{ForwardRequest, LogitPositions, SiteVisitor, Workspace};
use glassbox_model::forward_error::ForwardError;
use glassbox_model::model::Model;
use glassbox_model::site::{Norm, Site, SiteAxes};

use crate::{CorpusError, RowBatch, SourceSite};

/// A model with room for its passes, which end after the last block that the sites need.
#[derive(Debug)]
pub(crate) struct ForwardRows<'a, B: Backend> {
    model: &'a Model<B>,
    workspace: Workspace<B>,
    sites: Vec<SourceSite>,
    /// The last block to compute; `None` runs to the final norm.
    last_block: Option<u32>,
}

impl<'a, B: Backend> ForwardRows<'a, B> {
    /// Passes for these sites.
    ///
    /// # Errors
    /// [`CorpusError::Sites`] if there are none, one is named twice or has no row per token; [`CorpusError::Forward`] if the model lacks one.
    pub(crate) fn new(model: &'a Model<B>, sites: &[Site]) -> Result<Self, CorpusError> {
        let config = model.config();
        let refuse = |problem: String| Err(CorpusError::Sites { problem });
        if sites.is_empty() {
            return refuse("no site was asked for; name one, such as blocks.0.hook_resid_post".to_owned());
        }
        let mut found = Vec::with_capacity(sites.len());
        for (i, &site) in sites.iter().enumerate() {
            site.check(config).map_err(ForwardError::from)?;
            if sites[..i].contains(&site) {
                return refuse(format!("`{site}` is named twice; name it once"));
            }
            let axes: SiteAxes = site.axes(config);
            let Some(width) = axes.edit_width(false) else {
                return refuse(format!(
                    "`{site}` has a value per pair of positions, not a row per token; choose another site, such as hook_z"
                ));
            };
            found.push(SourceSite { site, width });
        }
        let last_block = sites
            .iter()
            .map(|site| match site {
                Site::NormScale(Norm::Final) | Site::NormNormalized(Norm::Final) => None,
                // The embedding is there before any block, but a pass computes at least one.
                site => Some(site.layer().unwrap_or(0)),
            })
            .try_fold(0, |last, layer| layer.map(|layer: u32| last.max(layer)));
        Ok(Self {
            model,
            workspace: model.workspace(),
            sites: found,
            last_block,
        })
    }

    pub(crate) fn sites(&self) -> &[SourceSite] {
        &self.sites
    }

    /// Runs a batch; a visitor sees the sites that it wants.
    ///
    /// # Errors
    /// [`CorpusError::NonFiniteActivation`] with the site, the document and the position; [`CorpusError::Forward`].
    pub(crate) fn run(
        &mut self,
        batch: &RowBatch,
        visitor: Option<&mut dyn SiteVisitor<B>>,
    ) -> Result<(), CorpusError> {
        let mut request = ForwardRequest::new(&batch.tokens).logits(LogitPositions::None);
        if let Some(last) = self.last_block {
            request = request.stop_after_layer(last);
        }
        if let Some(visitor) = visitor {
            request = request.visitor(visitor);
        }
        match self.model.forward_on_device(&mut self.workspace, request) {
            Ok(_) => Ok(()),
            Err(error) => Err(placed(error, batch)),
        }
    }
}

/// The error with the document in the place of the batch row. What a visitor of this crate found is its own error.
fn placed(error: ForwardError, batch: &RowBatch) -> CorpusError {
    match error {
        ForwardError::Visitor { site, source } => match source.downcast::<CorpusError>() {
            Ok(error) => *error,
            Err(source) => ForwardError::Visitor { site, source }.into(),
        },
        ForwardError::NonFinite {
            place,
            row,
            position,
            element,
            value,
        } => {
            let position = usize::try_from(position).unwrap_or(0);
            match batch.rows.get(row) {
                Some(row) => CorpusError::NonFiniteActivation {
                    site: place,
                    document: row.documents.get(position).copied().unwrap_or(0),
                    document_position: row.document_positions.get(position).copied().unwrap_or(0),
                    row: row.number,
                    position,
                    element,
                    value,
                },
                None => ForwardError::NonFinite {
                    place,
                    row,
                    position: position as i64,
                    element,
                    value,
                }
                .into(),
            }
        }
        other => other.into(),
    }
}
