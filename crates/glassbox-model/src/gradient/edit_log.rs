//! What a program changed during a pass, for the way back.

use std::collections::HashMap;
use std::sync::Arc;

use glassbox_kernels::{Backend, KernelError};

use crate::edit::RowEdit;
use crate::site::Site;

/// One edit as it was applied.
#[derive(Debug)]
struct AppliedEdit<B: Backend> {
    edit: Arc<dyn RowEdit<B>>,
    width: usize,
    rows: Vec<u32>,
}

/// Edits of disjoint parts of a site, and the site's values before all of them.
#[derive(Debug)]
struct EditGroup<B: Backend> {
    before: B::Buffer,
    /// Elements [begin, end) of the site that the group's edits have touched.
    touched: Vec<(usize, usize)>,
    edits: Vec<AppliedEdit<B>>,
}

impl<B: Backend> EditGroup<B> {
    fn touches(&self, width: usize, rows: &[u32]) -> bool {
        rows.iter().any(|&row| {
            let begin = row as usize * width;
            self.touched
                .iter()
                .any(|&(from, to)| begin < to && from < begin + width)
        })
    }
}

/// The edits of a pass by site, in the order in which they were applied.
#[derive(Debug)]
pub(crate) struct EditLog<B: Backend> {
    sites: HashMap<Site, Vec<EditGroup<B>>>,
}

impl<B: Backend> Default for EditLog<B> {
    fn default() -> Self {
        Self {
            sites: HashMap::new(),
        }
    }
}

impl<B: Backend> EditLog<B> {
    /// Notes an edit that is about to be applied to x, of which the first `len` elements are the site's values.
    pub(crate) fn before(
        &mut self,
        backend: &B,
        site: Site,
        x: &B::Buffer,
        len: usize,
        edit: &Arc<dyn RowEdit<B>>,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        let groups = self.sites.entry(site).or_default();
        // One copy of the values serves all edits that touch different rows, such as one per batch row.
        if groups.last().is_none_or(|group| group.touches(width, rows)) {
            let mut before = backend.zeros(len);
            backend.copy(x, len, &mut before)?;
            groups.push(EditGroup {
                before,
                touched: Vec::new(),
                edits: Vec::new(),
            });
        }
        if let Some(group) = groups.last_mut() {
            group.touched.extend(
                rows.iter()
                    .map(|&row| (row as usize * width, (row as usize + 1) * width)),
            );
            group.edits.push(AppliedEdit {
                edit: Arc::clone(edit),
                width,
                rows: rows.to_vec(),
            });
        }
        Ok(())
    }

    /// Whether anything was edited at the site.
    pub(crate) fn edited(&self, site: Site) -> bool {
        self.sites.contains_key(&site)
    }

    /// Turns the gradient with respect to the site's values into the one with respect to those before the edits.
    pub(crate) fn pull_back(
        &self,
        backend: &B,
        site: Site,
        gradient: &mut B::Buffer,
    ) -> Result<(), KernelError> {
        for group in self.sites.get(&site).into_iter().flatten().rev() {
            for applied in group.edits.iter().rev() {
                applied
                    .edit
                    .pull_back(backend, &group.before, gradient, applied.width, &applied.rows)?;
            }
        }
        Ok(())
    }
}
