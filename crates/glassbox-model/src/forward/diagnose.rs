//! Finding the first value of a pass that is not finite.

use glassbox_kernels::Backend;
use thiserror::Error;

use crate::forward::hooks::{SiteView, SiteVisitor};
use crate::forward::layout::PassLayout;
use crate::forward_error::{ForwardError, VisitError};
use crate::site::Site;

/// Ends the pass: what was looked for is found.
#[derive(Debug, Error)]
#[error("a value that is not finite was found")]
struct Found;

/// Looks at every site of a pass and stops it at the first that holds a value that is not finite.
#[derive(Debug)]
pub(super) struct NonFiniteFinder {
    found: Option<ForwardError>,
    /// Whether scores and patterns are written out where someone wants them.
    scores: bool,
}

impl NonFiniteFinder {
    /// One that leaves scores and patterns out, or not.
    pub(super) fn new(scores: bool) -> Self {
        Self { found: None, scores }
    }

    /// What was found.
    pub(super) fn into_found(self) -> Option<ForwardError> {
        self.found
    }
}

impl<B: Backend> SiteVisitor<B> for NonFiniteFinder {
    fn wants(&self, site: Site) -> bool {
        self.scores || !matches!(site, Site::AttentionScores(_) | Site::AttentionPattern(_))
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        let values = view.read(backend)?;
        // Masked scores are −inf by intent.
        let masked = matches!(view.site, Site::AttentionScores(_));
        let right = |x: &f32| x.is_finite() || (masked && *x == f32::NEG_INFINITY);
        let Some(index) = values.iter().position(|x| !right(x)) else {
            return Ok(());
        };
        let layout = view.layout;
        let (row, query, element) = view.axes.place(index, layout.queries(), layout.keys());
        let place = view.site.to_string();
        self.found = Some(non_finite(place, layout, row, query, element, values[index]));
        Err(Box::new(Found))
    }
}

/// The error for one value.
pub(super) fn non_finite(
    place: String,
    layout: &PassLayout,
    row: usize,
    query: usize,
    element: usize,
    value: f32,
) -> ForwardError {
    let position = (layout.first_slot() + query) as i64 - layout.origin(row);
    ForwardError::NonFinite {
        place,
        row: layout.row_id(row) as usize,
        position,
        element,
        value,
    }
}
