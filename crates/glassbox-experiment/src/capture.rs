//! Sees the residual stream at the end of every row of a pass, where the next token is predicted.

use std::collections::BTreeMap;

use glassbox_kernels::Backend;
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::site::Site;

/// Copies `blocks.{l}.hook_resid_post` at the last position of every row, for chosen blocks.
///
/// Rows are padded on the left, so the last position of every row is the last slot of the pass.
#[derive(Debug)]
pub struct LastPositions {
    values: BTreeMap<u32, Vec<f32>>,
}

impl LastPositions {
    /// For these blocks.
    pub fn new(layers: impl IntoIterator<Item = u32>) -> Self {
        Self {
            values: layers.into_iter().map(|layer| (layer, Vec::new())).collect(),
        }
    }

    /// The values of the latest pass, [rows, d_model], by block.
    pub fn layers(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.values
            .iter()
            .map(|(layer, values)| (*layer, values.as_slice()))
    }
}

impl<B: Backend> SiteVisitor<B> for LastPositions {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPost(layer) if self.values.contains_key(&layer))
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        let Site::ResidPost(layer) = view.site else {
            return Ok(());
        };
        let Some(values) = self.values.get_mut(&layer) else {
            return Ok(());
        };
        let gathered = view.last_rows(backend)?;
        values.resize(backend.len(&gathered), 0.0);
        backend.read(&gathered, 0, values)?;
        Ok(())
    }
}
