//! A model by the name that a flag gives it: a folder, or a hub id in the local cache.

use std::path::PathBuf;

use glassbox_kernels::CpuBackend;
use glassbox_model::load_options::{LoadOptions, WeightType};
use glassbox_model::locate::{HubEnvironment, locate};
use glassbox_model::model::Model;
use glassbox_model::tokenizer::{Beginning, LazyTokenizer, Tokenizer};

use crate::error::CliError;

/// A model, the folder it was read from, and its tokenizer, which is read when text is.
#[derive(Debug)]
pub struct NamedModel {
    /// The folder.
    pub folder: PathBuf,
    /// The model.
    pub model: Model,
    tokenizer: LazyTokenizer,
}

impl NamedModel {
    /// Finds and loads a model.
    ///
    /// # Errors
    /// [`CliError::Locate`], [`CliError::Model`].
    pub fn open(name: &str, weights: WeightType) -> Result<Self, CliError> {
        let folder = locate(name, &HubEnvironment::of_process())?;
        let model = Model::open_with(CpuBackend, &folder, &LoadOptions { weights })?;
        let tokenizer = LazyTokenizer::new(&folder, model.config());
        Ok(Self {
            folder,
            model,
            tokenizer,
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`CliError::Tokenizer`] if there is none, or it is damaged.
    pub fn tokenizer(&self) -> Result<&Tokenizer, CliError> {
        Ok(self.tokenizer.get()?)
    }

    /// The tokens of a prompt, the beginning-of-sequence token first where the family's models are trained with it. An
    /// empty prompt is that token alone.
    ///
    /// # Errors
    /// [`CliError::Tokenizer`], and [`CliError::Usage`] for an empty prompt to a model without such a token.
    pub fn prompt_tokens(&self, prompt: &str) -> Result<Vec<u32>, CliError> {
        let config = self.model.config();
        if prompt.is_empty() {
            let Some(beginning) = config.bos_token_id else {
                let what = format!(
                    "the prompt is empty, and {} names no beginning-of-sequence token (`bos_token_id`) to start from",
                    self.folder.join("config.json").display()
                );
                return Err(CliError::usage_with_hint(
                    what,
                    "give a --prompt with at least one token",
                ));
            };
            return Ok(vec![beginning]);
        }
        let beginning = Beginning::of_prompts(config);
        let tokens = self.tokenizer()?.encode(prompt, beginning)?;
        if tokens.is_empty() {
            return Err(CliError::usage(
                "the prompt has no tokens; give one with at least one token",
            ));
        }
        Ok(tokens)
    }
}
