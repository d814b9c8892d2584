//! Activations that lie in memory.

use glassbox_model::site::Site;

use crate::{
    ActivationBatch, ActivationOrigin, ActivationSource, CorpusError, SourceSite, SourceState, Split,
};

/// Tokens of one batch, unless set otherwise.
const BATCH: usize = 1024;

/// Activations in memory as a source, for tests and for small sets. Each row counts as a document of its own.
#[derive(Clone, Debug)]
pub struct MemoryActivations {
    sites: Vec<SourceSite>,
    /// One [n, width] per site.
    values: Vec<Vec<f32>>,
    splits: Vec<Split>,
    batch: usize,
    given: usize,
}

impl MemoryActivations {
    /// Rows of one or more sites: each with its width and its values [n, width]; n is the same for all.
    ///
    /// # Errors
    /// [`CorpusError::Shape`] if the sizes do not fit, [`CorpusError::NonFiniteRow`] with the first value that is not finite.
    pub fn new(sites: Vec<(Site, usize, Vec<f32>)>) -> Result<Self, CorpusError> {
        let mut rows = None;
        for (site, width, values) in &sites {
            let (site, width) = (*site, *width);
            let shape = |problem| CorpusError::Shape { site, problem };
            if width == 0 || !values.len().is_multiple_of(width) {
                let problem = format!("{} values are no whole number of rows of {width}", values.len());
                return Err(shape(problem));
            }
            let found = values.len() / width;
            let expected = *rows.get_or_insert(found);
            if found != expected {
                return Err(shape(format!("{found} rows, but the first site has {expected}")));
            }
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(CorpusError::NonFiniteRow {
                    site,
                    row: index / width,
                    column: index % width,
                    value: values[index],
                });
            }
        }
        Ok(Self {
            splits: vec![Split::Train; rows.unwrap_or(0)],
            batch: BATCH,
            given: 0,
            sites: sites
                .iter()
                .map(|&(site, width, _)| SourceSite { site, width })
                .collect(),
            values: sites.into_iter().map(|(_, _, values)| values).collect(),
        })
    }

    /// Sets which rows are held out: those from `first` on.
    #[must_use]
    pub fn held_out_from(mut self, first: usize) -> Self {
        let first = first.min(self.splits.len());
        self.splits[first..].fill(Split::HeldOut);
        self
    }

    /// Sets the tokens of one batch, 1024 by default.
    #[must_use]
    pub fn with_batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }
}

impl ActivationSource for MemoryActivations {
    fn sites(&self) -> &[SourceSite] {
        &self.sites
    }

    fn origin(&self) -> ActivationOrigin {
        ActivationOrigin::default()
    }

    fn tokens_per_pass(&self) -> Option<u64> {
        Some(self.splits.len() as u64)
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        batch.reset(&self.sites);
        let taken = self.given..self.splits.len().min(self.given + self.batch);
        for ((into, values), site) in batch.sites.iter_mut().zip(&self.values).zip(&self.sites) {
            into.extend_from_slice(&values[taken.start * site.width..taken.end * site.width]);
        }
        for row in taken.clone() {
            batch.tokens.push(row as u32);
            batch.documents.push(row as u64);
            batch.document_positions.push(0);
            batch.rows.push(row as u64);
            batch.positions.push(0);
        }
        batch.splits.extend_from_slice(&self.splits[taken.clone()]);
        self.given = taken.end;
        Ok(!taken.is_empty())
    }

    fn state(&self) -> SourceState {
        SourceState::Memory {
            given: self.given as u64,
        }
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        match *state {
            SourceState::Memory { given } if given <= self.splits.len() as u64 => {
                self.given = given as usize;
                Ok(())
            }
            _ => Err(CorpusError::StateMismatch {
                found: state.kind().to_owned(),
                expected: format!("{} rows in memory", self.splits.len()),
            }),
        }
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        self.given = 0;
        Ok(())
    }
}
