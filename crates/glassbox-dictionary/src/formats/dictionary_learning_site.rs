//! Where a dictionary of dictionary_learning reads, and the keys of its configuration that leave the arithmetic unchanged.
//!
//! The configuration names no site: it has the block (`layer`), the trainer's free text `submodule_name` and the side of
//! the submodule (`buffer.io`).

use std::path::Path;

use glassbox_model::site::Site;

use super::stated_source::{StatedSource, names_along, not_stated};
use crate::config_file::ConfigFile;
use crate::error::Result;

/// Settings of the trainers.
pub(super) const TRAINER_HARMLESS: [&str; 41] = [
    "trainer_class",
    "lr",
    "l1_penalty",
    "lp_norm",
    "steps",
    "warmup_steps",
    "decay_start",
    "resample_steps",
    "sparsity_warmup_steps",
    "sparsity_penalty",
    "sparsity_function",
    "sparsity_queue_length",
    "n_sparsity_updates",
    "p_start",
    "p_end",
    "anneal_start",
    "anneal_end",
    "target_l0",
    "bandwidth",
    "auxk_alpha",
    "top_k_aux",
    "threshold_beta",
    "threshold_start_step",
    "k_anneal_steps",
    "dead_feature_threshold",
    "group_fractions",
    "group_weights",
    "group_sizes",
    "seed",
    "device",
    "wandb_name",
    "wandb_group",
    "wandb_project",
    "entropy",
    "ghost_threshold",
    "compile",
    // In the biases of finished dictionaries already; backups carry their own.
    "norm_factor",
    "reload_checkpoint",
    "log_steps",
    "save_steps",
    "data_seed",
];

/// Settings of the buffer of activations.
pub(super) const BUFFER_HARMLESS: [&str; 13] = [
    "d_submodule",
    "n_ctxs",
    "ctx_len",
    "refresh_batch_size",
    "out_batch_size",
    "device",
    "remove_bos",
    "add_special_tokens",
    "max_activation_norm_multiple",
    "split",
    "dataset",
    "n_tokens",
    "dtype",
];

/// What it reads and what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sites {
    pub(super) input: Site,
    pub(super) output: Site,
}

impl Sites {
    /// The sites, of [`StatedSource`] where it states them, else of the configuration, else of the folder's names.
    pub(super) fn find(
        folder: &Path,
        trainer: &ConfigFile,
        buffer: Option<&ConfigFile>,
        stated: &StatedSource,
    ) -> Result<Self> {
        let layer = trainer.value("layer").and_then(serde_json::Value::as_u64);
        let layer = layer.and_then(|layer| u32::try_from(layer).ok());
        let submodule = trainer.optional_text("submodule_name")?;
        let side = match buffer {
            Some(buffer) => buffer.optional_text("io")?,
            None => None,
        };
        if let Some(input) = stated.site {
            let output = stated.output_site.unwrap_or(input);
            return Ok(Self { input, output });
        }
        let unknown = || {
            not_stated(
                folder,
                "which site the dictionary is for (config.json has no usable trainer.layer, trainer.submodule_name \
                 and buffer.io)",
                r#"{ "site": "blocks.8.hook_resid_post" }"#,
            )
        };
        let part = match &submodule {
            Some(name) => Part::read(name).ok_or_else(unknown)?,
            None => names_along(folder)
                .iter()
                .rev()
                .find_map(|name| Part::read(name))
                // As SAELens reads the published ones that state nothing.
                .unwrap_or(Part::ResidPost),
        };
        let sites = match (layer, part) {
            (_, Part::Embedding) => Some((Site::Embed, Site::Embed)),
            (Some(l), part) => Some(part.sides(l)),
            (None, _) => None,
        };
        let (before, after) = sites.ok_or_else(unknown)?;
        let (input, output) = match side.as_deref() {
            None | Some("out") => (after, after),
            Some("in") => (before, before),
            Some("in_and_out") => (before, after),
            Some(_) => return Err(unknown()),
        };
        Ok(Self { input, output })
    }
}

/// A part of a block, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    ResidPre,
    ResidMid,
    ResidPost,
    Mlp,
    Attention,
    Embedding,
}

impl Part {
    /// Reads `resid_post_layer_8`, `mlp_out_layer3`, `attn_layer5`, `embed`.
    fn read(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        Some(if has(&["resid_pre"]) {
            Self::ResidPre
        } else if has(&["resid_mid"]) {
            Self::ResidMid
        } else if has(&["resid"]) {
            Self::ResidPost
        } else if has(&["mlp"]) {
            Self::Mlp
        } else if has(&["attn_out", "attn_layer", "attention"]) {
            Self::Attention
        } else if name == "embed" || name.starts_with("embed_") {
            Self::Embedding
        } else {
            return None;
        })
    }

    /// What goes into it and what comes out, in block l.
    fn sides(self, l: u32) -> (Site, Site) {
        match self {
            Self::ResidPre => (Site::ResidPre(l), Site::ResidPre(l)),
            Self::ResidMid => (Site::ResidMid(l), Site::ResidMid(l)),
            // The submodule is the whole block.
            Self::ResidPost => (Site::ResidPre(l), Site::ResidPost(l)),
            Self::Mlp => (Site::MlpIn(l), Site::MlpOut(l)),
            Self::Attention => (Site::AttentionOut(l), Site::AttentionOut(l)),
            Self::Embedding => (Site::Embed, Site::Embed),
        }
    }
}
