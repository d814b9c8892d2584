//! Documents as rows of tokens.

use std::collections::VecDeque;

use glassbox_model::config::ModelConfig;
use glassbox_model::tokenizer::{Beginning, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::token_row::OpenRow;
use crate::{
    BeginningPolicy, CorpusError, Document, DocumentReader, FirstPosition, Packing, ReaderState, RowOptions,
    Split, TokenRow,
};

/// What became of the documents that passed the filters, and of their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCounts {
    /// Documents of the training split.
    pub training_documents: u64,
    /// Documents of the held-out split.
    pub held_out_documents: u64,
    /// Documents of the split that was not asked for: they were not even tokenised.
    pub passed_over: u64,
    /// Documents of a single token. They are packed like all others; in a row of their own they are data only if a BOS stands before
    /// them, or position 0 is kept.
    pub one_token_documents: u64,
    /// Documents that gave no row: without a token, or with none that is data.
    pub without_data: u64,
    /// Documents that were cut off.
    pub truncated_documents: u64,
    /// Tokens that were cut off.
    pub truncated_tokens: u64,
    /// Rows.
    pub rows: u64,
    /// Tokens that are data.
    pub kept_tokens: u64,
    /// Tokens that are no data: position 0 and BOS, where they are dropped.
    pub dropped_tokens: u64,
}

/// Where [`TokenRows`] stands: a few kilobytes at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsState {
    /// Where the documents stand.
    pub reader: ReaderState,
    /// What was counted so far.
    pub counts: RowCounts,
    /// The rows being filled, of the training and the held-out split.
    open: [OpenRow; 2],
    /// Rows of the next document that were given already.
    given: usize,
}

/// The rows of a corpus, one after the other, with memory for one document and one row of each split.
#[derive(Debug)]
pub struct TokenRows<'a> {
    documents: DocumentReader,
    tokenizer: &'a Tokenizer,
    options: RowOptions,
    /// The token to put in, where one is put in.
    beginning: Option<u32>,
    only: Option<Split>,
    counts: RowCounts,
    open: [OpenRow; 2],
    /// Complete rows of the last document.
    ready: VecDeque<TokenRow>,
    /// Where all stood before that document.
    before: Option<RowsState>,
    ended: bool,
}

impl<'a> TokenRows<'a> {
    /// Rows of all documents, or of one split only, for a model of this configuration.
    ///
    /// # Errors
    /// [`CorpusError::Rows`] if the options contradict one another or the model.
    pub fn new(
        documents: DocumentReader,
        tokenizer: &'a Tokenizer,
        config: &ModelConfig,
        options: &RowOptions,
        only: Option<Split>,
    ) -> Result<Self, CorpusError> {
        let options = resolve(options, tokenizer, config)?;
        let beginning = match options.bos {
            BeginningPolicy::Never => None,
            _ => Some(config.bos_token_id.ok_or_else(|| {
                CorpusError::Rows {
                    option: "bos",
                    problem:
                        "a BOS token was asked for, but config.json names none (`bos_token_id`); use `never`"
                            .to_owned(),
                }
            })?),
        };
        Ok(Self {
            documents,
            tokenizer,
            options,
            beginning,
            only,
            counts: RowCounts::default(),
            open: Default::default(),
            ready: VecDeque::new(),
            before: None,
            ended: false,
        })
    }

    /// How documents become rows, with every default resolved.
    #[must_use]
    pub fn options(&self) -> &RowOptions {
        &self.options
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> &DocumentReader {
        &self.documents
    }

    /// What makes the tokens.
    #[must_use]
    pub fn tokenizer(&self) -> &'a Tokenizer {
        self.tokenizer
    }

    /// Which split's rows are given; `None` is both.
    #[must_use]
    pub fn only(&self) -> Option<Split> {
        self.only
    }

    /// Where all stands: after the row that was given last.
    #[must_use]
    pub fn state(&self) -> RowsState {
        match &self.before {
            Some(before) if !self.ready.is_empty() => before.clone(),
            _ => self.snapshot(),
        }
    }

    fn snapshot(&self) -> RowsState {
        RowsState {
            reader: self.documents.state().clone(),
            counts: self.counts,
            open: self.open.clone(),
            given: 0,
        }
    }

    /// Continues where rows with the same options stood.
    ///
    /// # Errors
    /// As [`DocumentReader::restore`], and those of reading.
    pub fn restore(&mut self, state: &RowsState) -> Result<(), CorpusError> {
        self.documents.restore(&state.reader)?;
        self.counts = state.counts;
        self.open = state.open.clone();
        self.ready.clear();
        (self.before, self.ended) = (None, false);
        for _ in 0..state.given {
            self.next_row()?;
        }
        Ok(())
    }

    /// Begins again with the first document.
    pub fn rewind(&mut self) {
        self.documents.rewind();
        (self.counts, self.open) = (RowCounts::default(), Default::default());
        self.ready.clear();
        (self.before, self.ended) = (None, false);
    }

    /// The next row; `None` at the end of the corpus. The last row of each split may be shorter than the others.
    ///
    /// # Errors
    /// Those of reading, [`CorpusError::Tokenizer`] with the document, [`CorpusError::NoTokens`] at the end if no row was made.
    pub fn next_row(&mut self) -> Result<Option<TokenRow>, CorpusError> {
        while self.ready.is_empty() && !self.ended {
            let before = self.snapshot();
            match self.documents.next() {
                Some(document) => self.add(&document?)?,
                None => self.end()?,
            }
            self.before = Some(before);
        }
        let row = self.ready.pop_front();
        if row.is_some()
            && let Some(before) = &mut self.before
        {
            before.given += 1;
        }
        Ok(row)
    }

    /// The next rows until `tokens` tokens were given, BOS and all; the last row may go beyond.
    pub fn until_tokens(&mut self, tokens: u64) -> impl Iterator<Item = Result<TokenRow, CorpusError>> {
        let mut left = tokens;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let row = self.next_row().transpose()?;
            if let Ok(row) = &row {
                left = left.saturating_sub(row.tokens.len() as u64);
            }
            Some(row)
        })
    }

    /// The next rows, until `kept` of their tokens are data; the last row may go beyond.
    ///
    /// # Errors
    /// As [`TokenRows::next_row`].
    pub fn read_until_kept(&mut self, kept: u64) -> Result<Vec<TokenRow>, CorpusError> {
        let (mut rows, mut found) = (Vec::new(), 0);
        while found < kept
            && let Some(row) = self.next_row()?
        {
            found += row.kept() as u64;
            rows.push(row);
        }
        Ok(rows)
    }

    fn add(&mut self, document: &Document) -> Result<(), CorpusError> {
        let options = &self.options;
        let split = Split::of_text(&document.text, options.held_out_share, options.split_seed);
        if self.only.is_some_and(|only| only != split) {
            self.counts.passed_over += 1;
            return Ok(());
        }
        *match split {
            Split::Train => &mut self.counts.training_documents,
            Split::HeldOut => &mut self.counts.held_out_documents,
        } += 1;
        let mut tokens = self
            .tokenizer
            .encode(&document.text, Beginning::Omit)
            .map_err(|source| CorpusError::Tokenizer {
                document: document.number,
                place: document.place.clone(),
                source,
            })?;
        if self.beginning.is_some() && tokens.first() == self.beginning.as_ref() {
            // The text spells the token out itself; one is enough.
            tokens.remove(0);
        }
        self.counts.one_token_documents += u64::from(tokens.len() == 1);
        let room = match options.packing {
            Packing::Packed => usize::MAX,
            Packing::DocumentPerRow => options.context - usize::from(self.beginning.is_some()),
        };
        let most = options.longest_document.unwrap_or(usize::MAX).min(room);
        if tokens.len() > most {
            self.counts.truncated_documents += 1;
            self.counts.truncated_tokens += (tokens.len() - most) as u64;
            tokens.truncate(most);
        }
        if tokens.is_empty() {
            self.counts.without_data += 1;
            return Ok(());
        }
        self.pack(document.number, split, &tokens);
        Ok(())
    }

    /// Puts the tokens of a document into rows.
    fn pack(&mut self, document: u64, split: Split, tokens: &[u32]) {
        let (context, alone) = (
            self.options.context,
            self.options.packing == Packing::DocumentPerRow,
        );
        let every_row = self.options.bos == BeginningPolicy::EveryRow;
        let mut done = 0;
        while done < tokens.len() {
            let beginning = self.beginning;
            let open = self.open_row(split);
            // A BOS in the last column would stand before nothing: the document begins in the next row.
            let wanted = beginning.filter(|_| done == 0 || (every_row && open.is_empty()));
            if wanted.is_some() && open.len() + 1 == context {
                self.close(split);
                continue;
            }
            open.begin_piece(document, done as u32);
            if let Some(beginning) = wanted {
                open.insert(beginning);
            }
            let taken = (context - open.len()).min(tokens.len() - done);
            open.extend(&tokens[done..done + taken]);
            done += taken;
            if alone || open.len() == context {
                let kept = self.close(split);
                self.counts.without_data += u64::from(alone && !kept);
            }
        }
    }

    fn open_row(&mut self, split: Split) -> &mut OpenRow {
        &mut self.open[usize::from(split == Split::HeldOut)]
    }

    /// Makes a row of what is open. `false` if none of it is data.
    fn close(&mut self, split: Split) -> bool {
        let (number, first) = (self.counts.rows, self.options.first_position);
        let row = self.open_row(split).close(number, split, first);
        let kept = row.kept();
        self.counts.dropped_tokens += (row.tokens.len() - kept) as u64;
        if kept == 0 {
            return false;
        }
        self.counts.rows += 1;
        self.counts.kept_tokens += kept as u64;
        self.ready.push_back(row);
        true
    }

    fn end(&mut self) -> Result<(), CorpusError> {
        self.ended = true;
        for split in [Split::Train, Split::HeldOut] {
            self.close(split);
        }
        if self.counts.rows == 0 {
            let split = self.only.map_or("training or held-out", Split::name);
            return Err(CorpusError::NoTokens { split });
        }
        Ok(())
    }
}

/// The options with every default resolved, and checked.
fn resolve(
    options: &RowOptions,
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<RowOptions, CorpusError> {
    let mut options = options.clone();
    if options.bos == BeginningPolicy::AsModel {
        let adds = match Beginning::of_prompts(config) {
            Beginning::Add => true,
            Beginning::Omit => false,
            Beginning::AsTokenizer => tokenizer.adds_beginning() && config.bos_token_id.is_some(),
        };
        options.bos = if adds {
            BeginningPolicy::EveryDocument
        } else {
            BeginningPolicy::Never
        };
    }
    let refuse = |option, problem| Err(CorpusError::Rows { option, problem });
    let least = if options.first_position == FirstPosition::Drop || options.bos != BeginningPolicy::Never {
        2
    } else {
        1
    };
    if options.context < least || options.context > config.max_positions {
        return refuse(
            "context",
            format!(
                "{} tokens per row; this model and these options allow {least} to {}",
                options.context, config.max_positions
            ),
        );
    }
    if !(0.0..=1.0).contains(&options.held_out_share) {
        return refuse(
            "held_out_share",
            format!(
                "{} is no share; give a number from 0 to 1",
                options.held_out_share
            ),
        );
    }
    if options.longest_document == Some(0) {
        return refuse(
            "longest_document",
            "0 tokens leave nothing; leave the option out for whole documents".to_owned(),
        );
    }
    Ok(options)
}
