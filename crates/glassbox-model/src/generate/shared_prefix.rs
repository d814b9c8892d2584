//! Prompts that are computed once for many trials.

use std::sync::Arc;

use glassbox_kernels::Backend;

use crate::batch::{BatchError, TokenBatch};
use crate::cache::KvCache;
use crate::forward::{ForwardRequest, LogitPositions, SiteView, SiteVisitor, Workspace};
use crate::forward_error::{ForwardError, VisitError};
use crate::generate::prefill::pieces;
use crate::model::Model;
use crate::site::Site;

/// Prompts that were computed without any edit: their keys and values, and the residual stream at their last positions.
///
/// Every trial sees all positions but the last as they are, and computes the last itself from the first block on that an
/// edit there changes. Exact for programs that touch no earlier position; others are refused.
#[derive(Debug)]
pub struct SharedPrefix<B: Backend> {
    cache: Arc<KvCache<B>>,
    /// `hook_resid_pre` of every block and the last `hook_resid_post` at each prompt's last position, [prompts, d_model].
    last_resid: Vec<B::Buffer>,
    prompts: Vec<Vec<u32>>,
    d_model: usize,
}

impl<B: Backend> SharedPrefix<B> {
    /// The prompts.
    #[must_use]
    pub fn prompts(&self) -> &[Vec<u32>] {
        &self.prompts
    }

    /// Bytes on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let resid = self.last_resid.len() * self.prompts.len() * self.d_model;
        self.cache.bytes() + resid * size_of::<f32>()
    }

    /// Keys and values of the whole prompts.
    pub(crate) fn cache(&self) -> &Arc<KvCache<B>> {
        &self.cache
    }

    pub(crate) fn last_resid(&self) -> &[B::Buffer] {
        &self.last_resid
    }
}

impl<B: Backend> Model<B> {
    /// Computes prompts once, to be continued by any number of trials.
    ///
    /// # Errors
    /// [`ForwardError`] for an empty prompt, a token outside the vocabulary, or a prompt longer than the context.
    pub fn prefill_shared(
        &self,
        workspace: &mut Workspace<B>,
        prompts: &[Vec<u32>],
    ) -> Result<SharedPrefix<B>, ForwardError> {
        check_prompts(self, prompts.iter().map(Vec::as_slice))?;
        let mut batch = TokenBatch::default();
        batch.fill(prompts.iter().map(Vec::as_slice));
        let mut cache = KvCache::new(self.backend(), self.config(), prompts.len(), batch.width());
        let first_key: Vec<u32> = batch.padding().collect();
        let mut piece = TokenBatch::default();
        let mut last = LastResid::default();
        for columns in pieces(&batch) {
            piece.fill_from_columns(&batch, columns);
            let request = ForwardRequest::new(&piece)
                .logits(LogitPositions::None)
                .cache(&mut cache)
                .first_key(&first_key)
                .visitor(&mut last);
            self.forward_on_device(workspace, request)?;
        }
        Ok(SharedPrefix {
            cache: Arc::new(cache),
            last_resid: last.resid,
            prompts: prompts.to_vec(),
            d_model: self.config().d_model,
        })
    }
}

/// Keeps the residual stream at the last slot of the latest pass, before the first block and after every block.
#[derive(Debug)]
struct LastResid<B: Backend> {
    resid: Vec<B::Buffer>,
}

impl<B: Backend> Default for LastResid<B> {
    fn default() -> Self {
        Self { resid: Vec::new() }
    }
}

impl<B: Backend> SiteVisitor<B> for LastResid<B> {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPre(0) | Site::ResidPost(_))
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        if view.site == Site::ResidPre(0) {
            self.resid.clear();
        }
        self.resid.push(view.last_rows(backend)?);
        Ok(())
    }
}

/// That there are prompts, none empty or longer than the context.
pub(super) fn check_prompts<'a, B: Backend>(
    model: &Model<B>,
    prompts: impl ExactSizeIterator<Item = &'a [u32]>,
) -> Result<(), ForwardError> {
    let max_positions = model.config().max_positions;
    if prompts.len() == 0 {
        return Err(BatchError::NoRows.into());
    }
    for (row, prompt) in prompts.enumerate() {
        if prompt.is_empty() {
            return Err(BatchError::EmptyRow { row }.into());
        }
        if prompt.len() > max_positions {
            return Err(ForwardError::ContextTooLong {
                row,
                length: prompt.len(),
                max_positions,
            });
        }
        if let Some(position) = prompt
            .iter()
            .position(|&token| token as usize >= model.config().vocab_size)
        {
            let (token, last) = (prompt[position], model.config().vocab_size - 1);
            return Err(ForwardError::TokenOutOfRange {
                row,
                position,
                token,
                last,
            });
        }
    }
    Ok(())
}
