//! Writing dictionaries so that SAELens 6 reads them.

use std::path::Path;

use glassbox_kernels::Backend;
use glassbox_model::site::Site;
use serde_json::{Value, json};

use crate::description::{ActivationRule, DictionaryDescription};
use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::formats::saelens::{CONFIG, NOTES, WEIGHTS};
use crate::normalisation::read_vec;
use crate::training_record::TRAINING_NOTE;
use crate::writing::{OwnedTensor, Precision, make_folder, write_json, write_tensors};

/// Writes a dictionary as SAELens 6 would (f32), with scales folded into the matrices.
///
/// One that writes another site, or has a skip connection, becomes a transcoder. `notes` (a recipe, measured figures) go into the
/// metadata as `glassbox`; rows that they tell of give `context_size` and `prepend_bos`.
///
/// # Errors
/// [`DictionaryError::Unsupported`] for what SAELens has no architecture for (GroupMax, a scaled selection, a TopK
/// transcoder); [`DictionaryError::Io`].
pub fn write_saelens<B: Backend>(
    dictionary: &Dictionary<B>,
    folder: &Path,
    notes: Option<&Value>,
) -> Result<()> {
    let description = dictionary.description();
    let transcoder = description.is_transcoder() || dictionary.has_skip();
    let architecture = architecture(description, transcoder, dictionary.has_skip(), folder)?;
    make_folder(folder)?;
    let (features, width, output_width) = (
        dictionary.features(),
        dictionary.width(),
        dictionary.output_width(),
    );
    let ids: Vec<u32> = (0..features as u32).collect();
    let backend = dictionary.backend();
    let encoder = read_vec(backend, &dictionary.encoder_rows(&ids)?, features * width)?;
    let decoder = read_vec(backend, &dictionary.decoder_rows(&ids)?, features * output_width)?;
    let transposed: Vec<f32> = (0..features * width)
        .map(|i| encoder[(i % features) * width + i / features])
        .collect();
    let f32 = |values: &[f32], shape: [usize; 2]| OwnedTensor::new(values, &shape, Precision::F32);
    // SAELens's transcoders never subtract the decoder bias, so it goes into the encoder's.
    let encoder_bias = if transcoder {
        dictionary.folded_bias()
    } else {
        dictionary.encoder_bias()
    };
    let mut tensors = vec![
        ("W_enc", f32(&transposed, [width, features])),
        ("W_dec", f32(&decoder, [features, output_width])),
        ("b_enc", OwnedTensor::vector(encoder_bias)),
        ("b_dec", OwnedTensor::vector(dictionary.decoder_bias())),
    ];
    if let Some(skip) = dictionary.skip_values()? {
        tensors.push(("W_skip", f32(&skip, [output_width, width])));
    }
    let mut config = config(description, architecture, transcoder);
    if let Some(notes) = notes {
        config["metadata"][NOTES] = notes.clone();
        let rows = &notes[TRAINING_NOTE]["rows"];
        if let Some(context) = rows["context"].as_u64() {
            config["metadata"]["context_size"] = json!(context);
        }
        if let Some(beginning) = rows["bos"].as_str() {
            config["metadata"]["prepend_bos"] = json!(beginning != "never");
        }
    }
    match &description.rule {
        ActivationRule::TopK { k, .. } => {
            config["k"] = json!(k);
            config["rescale_acts_by_decoder_norm"] = json!(false);
        }
        ActivationRule::JumpRelu { threshold } => tensors.push(("threshold", OwnedTensor::vector(threshold))),
        ActivationRule::Relu | ActivationRule::GroupMax { .. } => {}
    }
    write_tensors(&folder.join(WEIGHTS), tensors)?;
    write_json(&folder.join(CONFIG), &config)
}

/// SAELens's name for this kind of dictionary.
fn architecture(
    description: &DictionaryDescription,
    transcoder: bool,
    skip: bool,
    folder: &Path,
) -> Result<&'static str> {
    match (&description.rule, transcoder, skip) {
        (ActivationRule::Relu, false, _) => Ok("standard"),
        (ActivationRule::Relu, true, false) => Ok("transcoder"),
        (ActivationRule::Relu, true, true) => Ok("skip_transcoder"),
        (ActivationRule::JumpRelu { .. }, false, _) => Ok("jumprelu"),
        (ActivationRule::JumpRelu { .. }, true, false) => Ok("jumprelu_transcoder"),
        (ActivationRule::JumpRelu { .. }, true, true) => Ok("jumprelu_skip_transcoder"),
        (
            ActivationRule::TopK {
                selection_scale: None,
                ..
            },
            false,
            _,
        ) => Ok("topk"),
        (rule, ..) => {
            let kind = if transcoder {
                "a transcoder"
            } else {
                "a dictionary"
            };
            Err(DictionaryError::Unsupported {
                path: folder.to_path_buf(),
                what: format!("writing {kind} with activation {rule} in the saelens format"),
                supported: "ReLU and JumpReLU, with one site TopK too; the glassbox format holds the rest"
                    .to_owned(),
            })
        }
    }
}

fn config(description: &DictionaryDescription, architecture: &str, transcoder: bool) -> Value {
    let loader_options: serde_json::Map<String, Value> = description
        .model
        .processing
        .iter()
        .map(|option| (option.clone(), Value::Bool(true)))
        .collect();
    let mut config = json!({
        "architecture": architecture,
        "d_in": description.width,
        "d_sae": description.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": description.subtract_decoder_bias && !transcoder,
        "normalize_activations": description.input_normalisation.to_string(),
        "reshape_activations": if matches!(description.site, Site::Mixed(_)) { "hook_z" } else { "none" },
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": description.model.name,
            "hook_name": description.site.to_string(),
            "hook_head_index": null,
            "model_from_pretrained_kwargs": loader_options,
        },
    });
    if transcoder {
        config["d_out"] = json!(description.output_width);
        config["metadata"]["hook_name_out"] = json!(description.output_site.to_string());
    }
    config
}
