//! From the sites of a pass to the type in which they are stored.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use glassbox_kernels::cpu::for_each_piece;
use glassbox_kernels::{Backend, KernelError};
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::site::Site;
use half::{bf16, f16};

use crate::activation_type::{Stored, StoredRows, first_above};
use crate::model_activations::non_finite;
use crate::row_batches::KeptRun;
use crate::shard_buffer::ShardBuffer;
use crate::{ActivationType, CorpusError, RowBatch, SourceSite};

/// Values that are read and converted at a time: they stay in the processor's cache.
const CHUNK_VALUES: usize = 1 << 13;

thread_local! {
    /// The values of a chunk as the pass has them.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs cut into pieces that several threads can convert.
pub(crate) fn chunks(runs: &[KeptRun], sites: &[SourceSite]) -> Vec<KeptRun> {
    let widest = sites.iter().map(|site| site.width).max().unwrap_or(1);
    let most = (CHUNK_VALUES / widest.max(1)).max(1);
    let mut pieces = Vec::with_capacity(runs.len());
    for run in runs {
        for first in (0..run.len).step_by(most) {
            pieces.push(KeptRun {
                slot: run.slot + first,
                len: most.min(run.len - first),
                row: run.row,
                position: run.position + first,
            });
        }
    }
    pieces
}

/// Copies the rows of tokens that are data into the type in which they are stored, as the pass comes to them.
pub(crate) struct Encoder<'a> {
    pub(crate) sites: &'a [SourceSite],
    pub(crate) runs: &'a [KeptRun],
    pub(crate) batch: &'a RowBatch,
    pub(crate) buffer: &'a mut ShardBuffer,
}

impl<B: Backend> SiteVisitor<B> for Encoder<'_> {
    fn wants(&self, site: Site) -> bool {
        self.sites.iter().any(|wanted| wanted.site == site)
    }

    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        let Some(place) = self.sites.iter().position(|wanted| wanted.site == view.site) else {
            return Ok(());
        };
        let site = self.sites[place];
        let values = &mut self.buffer.values[place];
        values.resize(self.buffer.tokens.len() * site.width);
        let (runs, batch) = (self.runs, self.batch);
        let (dtype, encoded) = match values {
            StoredRows::F16(into) => (
                ActivationType::F16,
                encode::<B, f16>(backend, view, runs, site, into),
            ),
            StoredRows::Bf16(into) => (
                ActivationType::Bf16,
                encode::<B, bf16>(backend, view, runs, site, into),
            ),
            StoredRows::F32(into) => (
                ActivationType::F32,
                encode::<B, f32>(backend, view, runs, site, into),
            ),
        };
        encoded.map_err(|refused| match refused {
            Refused::Backend(error) => error.into(),
            Refused::Value { run, index, value } => {
                let error = non_finite(site.site, batch, run, index, site.width, value);
                if value.is_finite() {
                    too_large(error, dtype)
                } else {
                    error
                }
                .into()
            }
        })
    }
}

enum Refused {
    Backend(KernelError),
    Value { run: KeptRun, index: usize, value: f32 },
}

fn encode<B: Backend, T: Stored>(
    backend: &B,
    view: &SiteView<'_, B>,
    runs: &[KeptRun],
    site: SourceSite,
    into: &mut [T],
) -> Result<(), Refused> {
    let mut rest = into;
    let mut pieces = Vec::with_capacity(runs.len());
    for &run in runs {
        let (piece, after) = rest.split_at_mut(run.len * site.width);
        pieces.push(Mutex::new((run, piece)));
        rest = after;
    }
    // The first in the order of the tokens, whichever thread comes first.
    let refused: Mutex<Option<(usize, Refused)>> = Mutex::new(None);
    for_each_piece(pieces.len(), |place| {
        let mut piece = pieces[place].lock().unwrap_or_else(PoisonError::into_inner);
        let (run, into) = &mut *piece;
        let encoded = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(into.len(), 0.0);
            backend
                .read(view.buffer, run.slot * site.width, scratch)
                .map_err(Refused::Backend)?;
            if let Some(index) = first_above(scratch, T::LARGEST) {
                let (run, value) = (*run, scratch[index]);
                return Err(Refused::Value { run, index, value });
            }
            T::encode(scratch, into);
            Ok(())
        });
        if let Err(error) = encoded {
            let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.as_ref().is_none_or(|(earlier, _)| place < *earlier) {
                *refused = Some((place, error));
            }
        }
    });
    match refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// The error for a finite value that the type cannot hold, in place of the one for a value that is not finite.
fn too_large(error: CorpusError, dtype: ActivationType) -> CorpusError {
    match error {
        CorpusError::NonFiniteActivation {
            site,
            document,
            document_position,
            row,
            position,
            element,
            value,
        } => CorpusError::TooLarge {
            site,
            document,
            document_position,
            row,
            position,
            element,
            value,
            dtype,
        },
        other => other,
    }
}
