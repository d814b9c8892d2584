//! Hidden states that GhostTrack (2026) extracted: `layer_N_states.pt`.
//!
//! A file of `torch.save`: `{hidden_states [tokens, width], layer_idx, num_tokens, d_model}`, the output of block
//! `layer_idx`. Which texts the tokens come from is not in it, so there are no token ids and no documents: every state
//! counts as a document of its own. The project held out the last 5 % of the states, and so does this.

use std::ops::Range;
use std::path::Path;

use glassbox_model::site::Site;
use glassbox_store::{Checksum, hash_file};
use glassbox_tensors::{ElementType, PickledValue, TensorFile, TorchFile};

use crate::{
    ActivationBatch, ActivationOrigin, ActivationSource, CorpusError, SourceSite, SourceState, Split,
};

const STATES: &str = "hidden_states";
/// Tokens of one batch.
const BATCH: usize = 4096;

/// A file of extracted states, mapped: only the rows that are asked for come into memory.
#[derive(Debug)]
pub struct LegacyStates {
    tensors: TensorFile,
    site: [SourceSite; 1],
    tokens: usize,
    element_type: ElementType,
    /// Of the file.
    content: Checksum,
    /// The first token that is held out.
    held_out_from: usize,
    /// Tokens that a pass gives.
    range: Range<usize>,
    /// The next of them.
    given: usize,
}

impl LegacyStates {
    /// Opens a file and checks its parts against each other. The values are checked when they are read.
    ///
    /// # Errors
    /// [`CorpusError::Tensors`] for a file that is damaged or holds something else than plain data,
    /// [`CorpusError::LegacyStates`] for one of other contents.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let file = TorchFile::open(path)?;
        let wrong = |problem: String| CorpusError::LegacyStates {
            path: path.to_path_buf(),
            problem,
        };
        let root = file.root();
        let number = |key: &str| {
            let value = root.get(key).and_then(PickledValue::integer);
            value.ok_or_else(|| wrong(format!("`{key}` is missing or no whole number")))
        };
        let layer = number("layer_idx")?;
        let layer = u32::try_from(layer)
            .map_err(|_| wrong(format!("`layer_idx` is {layer}, expected at least 0")))?;
        let (stated_tokens, stated_width) = (number("num_tokens")?, number("d_model")?);
        let tensors = file.tensors(root)?;
        let Some(info) = tensors.info(STATES) else {
            return Err(wrong(format!("there is no tensor `{STATES}`")));
        };
        let element_type = info.element_type;
        let &[tokens, width] = info.shape else {
            return Err(wrong(format!(
                "`{STATES}` has shape {:?}, expected [tokens, width]",
                info.shape
            )));
        };
        if !matches!(
            element_type,
            ElementType::F32 | ElementType::F16 | ElementType::Bf16
        ) {
            return Err(wrong(format!(
                "`{STATES}` is {element_type}, expected F32, F16 or BF16"
            )));
        }
        for (key, stated, found) in [
            ("num_tokens", stated_tokens, tokens),
            ("d_model", stated_width, width),
        ] {
            if usize::try_from(stated) != Ok(found) {
                return Err(wrong(format!(
                    "`{key}` is {stated}, but `{STATES}` has shape [{tokens}, {width}]"
                )));
            }
        }
        if width == 0 {
            return Err(wrong(format!("`{STATES}` has rows of no values")));
        }
        let site = SourceSite {
            site: Site::ResidPost(layer),
            width,
        };
        // As the project rounds: the held-out part is cut down to whole tokens.
        let held_out = (tokens as f64 * 0.05) as usize;
        Ok(Self {
            tensors,
            site: [site],
            tokens,
            element_type,
            content: hash_file(path)?,
            held_out_from: tokens - held_out,
            range: 0..tokens,
            given: 0,
        })
    }

    /// Gives one split's states only.
    #[must_use]
    pub fn only(mut self, split: Option<Split>) -> Self {
        self.range = match split {
            None => 0..self.tokens,
            Some(Split::Train) => 0..self.held_out_from,
            Some(Split::HeldOut) => self.held_out_from..self.tokens,
        };
        self.given = self.range.start;
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.tensors.path()
    }

    /// Number of states.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Values of one state.
    #[must_use]
    pub fn width(&self) -> usize {
        self.site[0].width
    }

    /// The site that they were read from.
    #[must_use]
    pub fn site(&self) -> Site {
        self.site[0].site
    }

    /// How they are stored.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// States `first` to `first + count` [count, width], widened to single precision.
    ///
    /// # Errors
    /// [`CorpusError::Tensors`] beyond the last state, [`CorpusError::NonFiniteState`].
    pub fn rows(&self, first: usize, count: usize) -> Result<Vec<f32>, CorpusError> {
        let rows = self.tensors.rows(STATES, first, count)?;
        match rows.iter().position(|value| !value.is_finite()) {
            None => Ok(rows),
            Some(index) => Err(CorpusError::NonFiniteState {
                path: self.path().to_path_buf(),
                row: first + index / self.width(),
                column: index % self.width(),
                value: rows[index],
            }),
        }
    }
}

impl ActivationSource for LegacyStates {
    fn sites(&self) -> &[SourceSite] {
        &self.site
    }

    fn origin(&self) -> ActivationOrigin {
        ActivationOrigin {
            content: Some(self.content),
            ..ActivationOrigin::default()
        }
    }

    fn tokens_per_pass(&self) -> Option<u64> {
        Some(self.range.len() as u64)
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        batch.reset(&self.site);
        let taken = self.given..self.range.end.min(self.given + BATCH);
        if taken.is_empty() {
            return Ok(false);
        }
        batch.sites[0] = self.rows(taken.start, taken.len())?;
        for row in taken.clone() {
            batch.tokens.push(0);
            batch.documents.push(row as u64);
            batch.document_positions.push(0);
            batch.rows.push(row as u64);
            batch.positions.push(0);
            let held_out = row >= self.held_out_from;
            batch
                .splits
                .push(if held_out { Split::HeldOut } else { Split::Train });
        }
        self.given = taken.end;
        Ok(true)
    }

    fn state(&self) -> SourceState {
        SourceState::LegacyStates {
            given: self.given as u64,
        }
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        match *state {
            SourceState::LegacyStates { given }
                if (self.range.start as u64..=self.range.end as u64).contains(&given) =>
            {
                self.given = given as usize;
                Ok(())
            }
            _ => Err(CorpusError::StateMismatch {
                found: state.kind().to_owned(),
                expected: format!("{} states of {}", self.range.len(), self.path().display()),
            }),
        }
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        self.given = self.range.start;
        Ok(())
    }
}
