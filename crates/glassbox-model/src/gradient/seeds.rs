//! The scalar whose gradient is wanted, given by its derivatives where they are known.

use std::collections::BTreeMap;

use crate::forward::LogitPosition;
use crate::site::Site;

/// Derivatives of a scalar with respect to logits and to values of sites. Several for one place add up.
///
/// The difference of two logits has seeds +1 and −1 at the two; the activation of a linear feature has its encoder row
/// as seed at its site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seeds {
    /// By position, [vocab] each.
    pub(crate) logits: BTreeMap<LogitPosition, Vec<f32>>,
    /// By site, over all of the site's values.
    pub(crate) whole: Vec<(Site, Vec<f32>)>,
    /// By site, batch row and position, over all values of that position.
    pub(crate) positions: Vec<(Site, LogitPosition, Vec<f32>)>,
}

impl Seeds {
    /// No seeds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds derivatives with respect to the logits, `vocab_size` of them, at one position. The position is counted from the row's
    /// first token; the pass need not have computed its logits.
    #[must_use]
    pub fn logits(mut self, row: u32, position: u32, values: &[f32]) -> Self {
        let at = LogitPosition { row, position };
        match self.logits.get_mut(&at) {
            Some(sum) if sum.len() == values.len() => {
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            _ => {
                self.logits.insert(at, values.to_vec());
            }
        }
        self
    }

    /// Adds derivatives with respect to all values of a site, in the shape in which it is recorded.
    #[must_use]
    pub fn site(mut self, site: Site, values: &[f32]) -> Self {
        self.whole.push((site, values.to_vec()));
        self
    }

    /// Adds derivatives with respect to a site's values at one position: all heads, where it has heads.
    #[must_use]
    pub fn position(mut self, site: Site, row: u32, position: u32, values: &[f32]) -> Self {
        self.positions
            .push((site, LogitPosition { row, position }, values.to_vec()));
        self
    }

    /// Sites that have seeds.
    pub(crate) fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        let whole = self.whole.iter().map(|(site, _)| *site);
        whole.chain(self.positions.iter().map(|(site, _, _)| *site))
    }
}
