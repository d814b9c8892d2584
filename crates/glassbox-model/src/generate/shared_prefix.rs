//! Prompts that are computed once for many trials.

use glassbox_kernels::Backend;

use crate::batch::{BatchError, TokenBatch};
use crate::cache::KvCache;
use crate::forward::{ForwardRequest, LogitPositions, Workspace};
use crate::forward_error::ForwardError;
use crate::generate::prefill::pieces;
use crate::model::Model;

/// The keys and values of all prompt positions but the last.
///
/// The last position is left to each trial, so that an edit there acts. Exact for programs that touch no earlier
/// position; others are refused.
#[derive(Debug)]
pub struct SharedPrefix<B: Backend> {
    cache: KvCache<B>,
    prompts: Vec<Vec<u32>>,
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
        self.cache.bytes()
    }

    pub(crate) fn cache(&self) -> &KvCache<B> {
        &self.cache
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
        batch.fill(prompts.iter().map(|prompt| &prompt[..prompt.len() - 1]));
        let mut cache = KvCache::new(self.backend(), self.config(), prompts.len(), batch.width());
        let first_key: Vec<u32> = batch.padding().collect();
        let mut piece = TokenBatch::default();
        for columns in pieces(&batch) {
            piece.fill_from_columns(&batch, columns);
            let request = ForwardRequest::new(&piece)
                .logits(LogitPositions::None)
                .cache(&mut cache)
                .first_key(&first_key);
            self.forward_on_device(workspace, request)?;
        }
        Ok(SharedPrefix {
            cache,
            prompts: prompts.to_vec(),
        })
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
