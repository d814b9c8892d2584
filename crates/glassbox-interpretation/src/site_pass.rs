//! One forward pass that brings back the values of chosen sites at chosen tokens, on the device.

use std::collections::BTreeMap;

use glassbox_kernels::Backend;
use glassbox_model::forward::{ForwardRequest, LogitPositions, SiteView, SiteVisitor, Workspace};
use glassbox_model::forward_error::{ForwardError, VisitError};
use glassbox_model::model::Model;
use glassbox_model::site::Site;

use crate::error::Result;
use crate::rows::PassRows;

/// Values of sites in a pass.
#[derive(Debug)]
pub struct SiteValues<B: Backend> {
    /// Per site the values of the kept tokens [kept, width].
    pub kept: BTreeMap<Site, B::Buffer>,
    /// Per site the values of the dropped tokens [dropped, width].
    pub dropped: BTreeMap<Site, B::Buffer>,
    /// Whole residual streams [batch, pos, d_model], to begin later passes with.
    pub residuals: BTreeMap<u32, B::Buffer>,
}

/// What a pass is to bring back.
#[derive(Clone, Debug, Default)]
pub struct SiteRequest {
    /// The sites.
    pub sites: Vec<Site>,
    /// Whether the dropped tokens' values are wanted too.
    pub dropped: bool,
    /// Blocks whose whole input is wanted.
    pub residuals: Vec<u32>,
}

impl SiteRequest {
    /// The last block that has to be computed; `None` where a site lies behind the blocks.
    fn last_block(&self) -> Option<u32> {
        self.sites
            .iter()
            .map(|site| match site {
                Site::Embed | Site::PosEmbed => Some(0),
                site => site.layer(),
            })
            .chain(self.residuals.iter().map(|block| Some(*block)))
            .collect::<Option<Vec<u32>>>()
            .and_then(|blocks| blocks.into_iter().max())
    }
}

struct Gatherer<'a, B: Backend> {
    request: &'a SiteRequest,
    kept: Vec<u32>,
    dropped: Vec<u32>,
    values: SiteValues<B>,
}

impl<B: Backend> SiteVisitor<B> for Gatherer<'_, B> {
    fn wants(&self, site: Site) -> bool {
        self.request.sites.contains(&site)
            || matches!(site, Site::ResidPre(block) if self.request.residuals.contains(&block))
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> std::result::Result<(), VisitError> {
        let gather = |places: &[u32]| -> std::result::Result<B::Buffer, ForwardError> {
            let width = view.value_count() / (view.layout.batch() * view.layout.queries()).max(1);
            let mut rows = backend.zeros(places.len() * width);
            backend.gather_rows(view.buffer, width, places, &mut rows)?;
            Ok(rows)
        };
        if self.request.sites.contains(&view.site) {
            self.values.kept.insert(view.site, gather(&self.kept)?);
            if self.request.dropped {
                self.values.dropped.insert(view.site, gather(&self.dropped)?);
            }
        }
        if let Site::ResidPre(block) = view.site
            && self.request.residuals.contains(&block)
        {
            let mut whole = backend.zeros(view.value_count());
            backend.copy(view.buffer, view.value_count(), &mut whole)?;
            self.values.residuals.insert(block, whole);
        }
        Ok(())
    }
}

/// Runs the rows through the model. With `logits` chosen the pass goes to the end and leaves them in the workspace; with
/// [`LogitPositions::None`] it ends after the last block that is needed.
///
/// # Errors
/// [`crate::InterpretationError::Forward`].
pub fn site_values<B: Backend>(
    model: &Model<B>,
    workspace: &mut Workspace<B>,
    rows: &PassRows<'_>,
    request: &SiteRequest,
    logits: LogitPositions,
) -> Result<SiteValues<B>> {
    let mut gatherer = Gatherer {
        request,
        kept: rows.places(&rows.kept),
        dropped: rows.places(&rows.dropped),
        values: SiteValues {
            kept: BTreeMap::new(),
            dropped: BTreeMap::new(),
            residuals: BTreeMap::new(),
        },
    };
    let mut pass = ForwardRequest::new(&rows.batch).visitor(&mut gatherer);
    match (&logits, request.last_block()) {
        (LogitPositions::None, Some(block)) => pass = pass.stop_after_layer(block),
        _ => pass = pass.logits(logits),
    }
    model.forward_on_device(workspace, pass)?;
    Ok(gatherer.values)
}
