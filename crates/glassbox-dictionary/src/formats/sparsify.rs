//! sparsify (EleutherAI): `cfg.json` and `sae.safetensors` in a folder that is named after the module it belongs to
//! (`layers.3.mlp`).
//!
//! Tensors: `encoder.weight` [F, d_in], `encoder.bias` [F], `W_dec` [F, d_in], `b_dec` [d_in], and `W_skip` [d_in, d_in]
//! with `skip_connection`. F is `num_latents` or, where that is 0, d_in · `expansion_factor`. With r = max(encoder(x), 0),
//! where x is the module's output less b_dec, or its input as it is with `transcode`:
//! - topk keeps the k largest of r; groupmax keeps the largest of each of k equal groups;
//! - the output is f · W_dec + b_dec, plus x_raw · W_skipᵀ; with `transcode` it is the module's output.
//!
//! `normalize_decoder` and `multi_topk` matter in training only.

use std::path::Path;

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::formats::stated_source::{FILE, StatedSource, names_along};
use crate::hook_names::{MODULES, Side, site_of_module};
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae.safetensors";
/// Settings of training.
const HARMLESS: [&str; 2] = ["normalize_decoder", "multi_topk"];

pub(super) struct Sparsify;

impl DictionaryFormat for Sparsify {
    fn name(&self) -> &'static str {
        "sparsify"
    }

    fn files(&self) -> &'static str {
        "cfg.json and sae.safetensors"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.join(CONFIG).is_file() && path.join(WEIGHTS).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;
        let width = config.count("d_in")?;
        let features = features(&config, width)?;
        let rule = rule(&config, features)?;
        if config.optional_flag("signed")? == Some(true) {
            return Err(config.unsupported("signed", "false (features here are at least zero)"));
        }
        let transcode = config.optional_flag("transcode")?.unwrap_or(false);
        let skip = config.optional_flag("skip_connection")?.unwrap_or(false);
        config.finish(&HARMLESS)?;
        let (site, output_site) = sites(folder, transcode)?;

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        let mut names = vec!["encoder.weight", "encoder.bias", "W_dec", "b_dec"];
        if skip {
            names.push("W_skip");
            weights.find("W_skip", &[width, width], "[d_in, d_in]")?;
        }
        weights.check_names(&names)?;
        weights.find("encoder.weight", &[features, width], "[num_latents, d_in]")?;
        weights.find("W_dec", &[features, width], "[num_latents, d_in]")?;
        let encoder_bias = weights.vector("encoder.bias", features, "[num_latents]")?;
        let decoder_bias = weights.vector("b_dec", width, "[d_in]")?;
        let description = DictionaryDescription {
            output_site,
            subtract_decoder_bias: !transcode,
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), folder)
        };
        let places = [MatrixPlace::rows("encoder.weight"), MatrixPlace::rows("W_dec")];
        Ok(StoredDictionary {
            skip: skip.then(|| MatrixPlace::rows("W_skip")),
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

fn features(config: &ConfigFile, width: usize) -> Result<usize> {
    let expansion = config.optional_count("expansion_factor")?;
    match config.optional_whole("num_latents")? {
        Some(features) if features > 0 => Ok(features),
        _ => {
            let expansion = match expansion {
                Some(expansion) => expansion,
                None => config.count("expansion_factor")?,
            };
            let too_many = || {
                config.bad(
                    "expansion_factor",
                    "a factor that leaves d_in times it below 2^32",
                )
            };
            width
                .checked_mul(expansion)
                .filter(|features| u32::try_from(*features).is_ok())
                .ok_or_else(too_many)
        }
    }
}

fn rule(config: &ConfigFile, features: usize) -> Result<ActivationRule> {
    let k = config.count("k")?;
    if k > features {
        return Err(config.bad("k", format!("a whole number from 1 to {features}")));
    }
    // Versions that had one activation did not name it.
    match config.optional_text("activation")?.as_deref() {
        None | Some("topk") => Ok(ActivationRule::top_k(k)),
        Some("groupmax") if features.is_multiple_of(k) => Ok(ActivationRule::GroupMax { groups: k }),
        Some("groupmax") => Err(config.bad("k", format!("a divisor of {features}, for activation groupmax"))),
        Some(_) => Err(config.unsupported("activation", "topk, groupmax")),
    }
}

/// The sites of the module that the folder is named after, or those stated beside the weights.
fn sites(folder: &Path, transcode: bool) -> Result<(Site, Site)> {
    let stated = StatedSource::read(folder)?;
    let names = names_along(folder);
    let name = names.last().map_or("", String::as_str);
    let output = site_of_module(name, Side::Output);
    let input = match transcode {
        true => site_of_module(name, Side::Input),
        false => output,
    };
    let input = stated.site.or(input);
    let output = stated.output_site.or(if transcode { output } else { input });
    input.zip(output).ok_or_else(|| DictionaryError::Unsupported {
        path: folder.to_path_buf(),
        what: format!(
            "the module `{name}` (sparsify names a folder after the module that a dictionary {}; rename the folder if \
             it has lost that name, or state the site in {FILE}: {{ \"site\": \"blocks.3.hook_mlp_out\" }})",
            if transcode { "replaces" } else { "reads" }
        ),
        supported: MODULES.to_owned(),
    })
}
