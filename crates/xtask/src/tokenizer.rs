//! The byte-level BPE tokenizer of the shipped model.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::corpus::Document;
use crate::rng::Split;

/// Id of `<s>`, put before every text by whoever builds the token sequence.
pub const BEGIN: u32 = 0;
/// Id of `</s>`, the end of a response.
pub const END: u32 = 1;

/// A trained tokenizer. Text of any kind survives encoding and decoding unchanged.
pub struct GameTokenizer(Tokenizer);

impl GameTokenizer {
    /// Trains byte-level BPE (Sennrich et al. 2016; byte alphabet of GPT-2) on the first documents of the
    /// training split.
    ///
    /// # Errors
    /// If training fails, or the special tokens do not get ids 0 and 1.
    pub fn train(seed: u64, documents: usize, vocabulary: usize) -> Result<Self> {
        let mut tokenizer = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None::<tokenizers::NormalizerWrapper>)
            .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
            .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
            .with_decoder(Some(ByteLevel::default()))
            .build()
            .map_err(|error| anyhow!("tokenizer builder: {error}"))?;
        let special = |text: &str| AddedToken::from(text, true);
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocabulary)
            .show_progress(false)
            .min_frequency(2)
            .special_tokens(vec![special("<s>"), special("</s>")])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let texts = (0..documents as u64).map(|index| Document::draw(seed, Split::Train, index).text());
        tokenizer
            .train(&mut trainer, texts)
            .map_err(|error| anyhow!("tokenizer training: {error}"))?;
        // Through JSON, so that this tokenizer and the one loaded from the file are the same.
        let json = tokenizer
            .to_string(false)
            .map_err(|error| anyhow!("tokenizer to JSON: {error}"))?;
        Self::checked(
            json.parse::<Tokenizer>()
                .map_err(|error| anyhow!("tokenizer from JSON: {error}"))?,
        )
    }

    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// If the file is missing or no tokenizer of this kind.
    pub fn load(path: &Path) -> Result<Self> {
        let tokenizer =
            Tokenizer::from_file(path).map_err(|error| anyhow!("tokenizer {}: {error}", path.display()))?;
        Self::checked(tokenizer)
    }

    fn checked(tokenizer: Tokenizer) -> Result<Self> {
        ensure!(
            tokenizer.token_to_id("<s>") == Some(BEGIN),
            "token <s> must have id {BEGIN}"
        );
        ensure!(
            tokenizer.token_to_id("</s>") == Some(END),
            "token </s> must have id {END}"
        );
        Ok(Self(tokenizer))
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.0
            .save(path, true)
            .map_err(|error| anyhow!("tokenizer {}: {error}", path.display()))
    }

    /// Number of tokens, special ones included.
    pub fn vocabulary_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Token ids of a text, without BOS or EOS.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .0
            .encode_fast(text, false)
            .map_err(|error| anyhow!("encoding: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of token ids; special tokens are left out.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0
            .decode(ids, true)
            .map_err(|error| anyhow!("decoding: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_prompt_and_response_split_at_a_token_boundary() {
        let tokenizer = GameTokenizer::train(1, 300, 600).unwrap();
        for index in 0..100 {
            let document = Document::draw(1, Split::HeldOut, index);
            let (prompt, response) = (document.prompt.text(), document.response.text.clone());
            let whole = tokenizer.encode(&document.text()).unwrap();
            assert_eq!(tokenizer.decode(&whole).unwrap(), document.text());
            let parts = [
                tokenizer.encode(&prompt).unwrap(),
                tokenizer.encode(&response).unwrap(),
            ]
            .concat();
            assert_eq!(parts, whole);
        }
        for text in ["Zürich  €5\t\n\n x", " ", "日本"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
    }
}
