//! Values of sites, copied to the host.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_kernels::Backend;

use crate::forward::{SiteView, SiteVisitor};
use crate::forward_error::VisitError;
use crate::site::Site;

/// One site's values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedSite {
    /// [batch, pos, width], [batch, pos, heads, width] or [batch, head, query, key]; see [`Site`].
    pub shape: Vec<usize>,
    /// The values, dense and row-major. Those at padding mean nothing.
    pub values: Vec<f32>,
}

/// The recorded sites of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    sites: BTreeMap<Site, RecordedSite>,
    /// Index of each row's position 0 along the position axis; negative where it lies in the cache.
    first: Vec<i64>,
}

impl Recording {
    /// A site's values, if it was recorded.
    #[must_use]
    pub fn get(&self, site: Site) -> Option<&RecordedSite> {
        self.sites.get(&site)
    }

    /// All sites that were recorded.
    pub fn sites(&self) -> impl Iterator<Item = (Site, &RecordedSite)> {
        self.sites.iter().map(|(site, recorded)| (*site, recorded))
    }

    /// The values of one position (all heads of it), counted from the row's first token. `None` if the site was not
    /// recorded, the position is not in the pass, or the site has no position axis (scores and patterns).
    #[must_use]
    pub fn at(&self, site: Site, row: usize, position: u32) -> Option<&[f32]> {
        if matches!(site, Site::AttentionScores(_) | Site::AttentionPattern(_)) {
            return None;
        }
        let recorded = self.sites.get(&site)?;
        let index = usize::try_from(self.first.get(row)? + i64::from(position)).ok()?;
        let (batch, positions) = (recorded.shape[0], recorded.shape[1]);
        if row >= batch || index >= positions {
            return None;
        }
        let width: usize = recorded.shape[2..].iter().product();
        let begin = (row * positions + index) * width;
        recorded.values.get(begin..begin + width)
    }

    pub(crate) fn lay_out(&mut self, first: Vec<i64>) {
        self.first = first;
    }

    pub(crate) fn insert(&mut self, site: Site, recorded: RecordedSite) {
        self.sites.insert(site, recorded);
    }
}

/// The visitor behind [`crate::forward::ForwardRequest::record`].
#[derive(Debug)]
pub(crate) struct Recorder {
    wanted: BTreeSet<Site>,
    pub(crate) recording: Recording,
}

impl Recorder {
    /// Records these sites into the memory of an earlier recording.
    pub(crate) fn new(sites: &[Site], reused: Recording) -> Self {
        let wanted: BTreeSet<Site> = sites.iter().copied().collect();
        let mut recording = reused;
        recording.sites.retain(|site, _| wanted.contains(site));
        Self { wanted, recording }
    }
}

impl<B: Backend> SiteVisitor<B> for Recorder {
    fn wants(&self, site: Site) -> bool {
        self.wanted.contains(&site)
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        let recorded = self.recording.sites.entry(view.site).or_default();
        recorded.shape = view.shape();
        view.read_into(backend, &mut recorded.values)?;
        Ok(())
    }
}
