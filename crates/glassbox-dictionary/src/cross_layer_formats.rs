//! The on-disk formats of cross-layer transcoders, with L layers of F features of width d.
//!
//! | format | files | decoder rows |
//! |---|---|---|
//! | circuit_tracer | `config.yaml` (`model_kind: cross_layer_transcoder`), `W_enc_{s}.safetensors` with `W_enc_{s}` [F, d], `b_enc_{s}`, `b_dec_{s}`, `threshold_{s}` where JumpReLU | `W_dec_{s}.safetensors`, by source: `W_dec_{s}` [F, L − s, d] |
//! | llamascopium | `config.json` (`sae_type` clt), `sae_weights.safetensors` with `W_E` [L, d, F], `b_E` [L, F], `b_D.{t}` | by target: `W_D.{t}` [t + 1, F, d] |
//! | gemma_scope_2 | `params_layer_{s}.safetensors` with `w_enc` [d, F], `b_enc`, `b_dec`, `threshold`, `affine_skip_connection` [d, d] | `w_dec` [F, L, d]; those to earlier layers are not used |

use std::path::Path;

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::cross_layer::CrossLayerDescription;
use crate::cross_layer_weights::{DecoderPlace, StoredCrossLayer, StoredLayer, TensorPart};
use crate::description::ActivationRule;
use crate::error::{DictionaryError, Result};
use crate::formats::circuit_tracer::{self, SetSettings};
use crate::formats::gating::at_least_zero;
use crate::formats::llamascopium::{self, Activation, dataset_factor, norm_tensor};
use crate::formats::stated_source::names_along;
use crate::weights_file::WeightsFile;

/// A format's test and its reader.
type Format = (fn(&Path) -> bool, fn(&Path) -> Result<StoredCrossLayer>);

const FORMATS: [Format; 3] = [
    (is_circuit_tracer, open_circuit_tracer),
    (is_llamascopium, open_llamascopium),
    (is_gemma_scope_2, open_gemma_scope_2),
];
const NAMES: &str = "circuit_tracer (config.yaml and W_enc_{i}.safetensors, W_dec_{i}.safetensors); llamascopium (config.json \
                     with sae_type clt, and sae_weights.safetensors); gemma_scope_2 (params_layer_{i}.safetensors)";

pub(crate) fn recognise(path: &Path) -> Option<&'static Format> {
    FORMATS.iter().find(|(recognises, _)| recognises(path))
}

pub(crate) fn open(path: &Path) -> Result<StoredCrossLayer> {
    std::fs::metadata(path).map_err(DictionaryError::io("find the cross-layer transcoder", path))?;
    match recognise(path) {
        Some((_, open)) => open(path),
        None => Err(DictionaryError::NoFormat {
            path: path.to_path_buf(),
            formats: NAMES.to_owned(),
        }),
    }
}

fn is_circuit_tracer(folder: &Path) -> bool {
    folder.join("W_enc_0.safetensors").is_file()
}

fn is_llamascopium(folder: &Path) -> bool {
    let config = folder.join(llamascopium::CONFIG);
    let kind = || -> Option<bool> {
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(config).ok()?).ok()?;
        Some(config.get("sae_type")?.as_str()? == "clt")
    };
    folder.join(llamascopium::WEIGHTS).is_file() && kind() == Some(true)
}

fn is_gemma_scope_2(folder: &Path) -> bool {
    folder.join("params_layer_0.safetensors").is_file()
}

/// Opens `{prefix}{i}.safetensors` for i from 0 on, as long as there is one.
fn layer_files(folder: &Path, prefix: &str) -> Result<Vec<WeightsFile>> {
    (0..)
        .map(|layer| folder.join(format!("{prefix}{layer}.safetensors")))
        .take_while(|path| path.is_file())
        .map(|path| WeightsFile::open(&path))
        .collect()
}

fn part(file: usize, tensor: &str, shape: &[usize], first: usize, transposed: bool) -> TensorPart {
    TensorPart {
        file,
        tensor: tensor.to_owned(),
        shape: shape.to_vec(),
        first,
        transposed,
    }
}

fn description(
    format: &str,
    folder: &Path,
    [features, width]: [usize; 2],
    sites: Vec<Site>,
    output_sites: Vec<Site>,
    layers: &[StoredLayer],
    files: &[WeightsFile],
) -> CrossLayerDescription {
    CrossLayerDescription {
        format: format.to_owned(),
        path: folder.to_path_buf(),
        sites,
        output_sites,
        width,
        features,
        rule: layers
            .first()
            .map_or_else(String::new, |layer| layer.rule.to_string()),
        skip: layers.iter().any(|layer| layer.skip.is_some()),
        model: None,
        bytes: files.iter().map(WeightsFile::data_length).sum(),
    }
}

fn open_circuit_tracer(folder: &Path) -> Result<StoredCrossLayer> {
    let config_path = folder.join(circuit_tracer::CONFIG);
    let config = ConfigFile::parse_yaml(&config_path, &read_bytes(&config_path)?)?;
    let settings = SetSettings::read(&config, "cross_layer_transcoder")?;
    let mut files = layer_files(folder, "W_enc_")?;
    let count = files.len();
    let [features, width] = files[0].matrix_shape("W_enc_0", "[d_transcoder, d_model]")?;
    for source in 0..count {
        files.push(WeightsFile::open(
            &folder.join(format!("W_dec_{source}.safetensors")),
        )?);
    }
    let (mut layers, mut sites, mut output_sites) = (Vec::new(), Vec::new(), Vec::new());
    for source in 0..count {
        let [encoder, b_enc, b_dec, threshold, decoder] =
            ["W_enc", "b_enc", "b_dec", "threshold", "W_dec"].map(|name| format!("{name}_{source}"));
        let file = &files[source];
        let jump_relu = file.has(&threshold);
        let mut names = vec![encoder.as_str(), &b_enc, &b_dec];
        names.extend(jump_relu.then_some(threshold.as_str()));
        file.check_names(&names)?;
        file.find(&encoder, &[features, width], "[d_transcoder, d_model]")?;
        let shape = [features, count - source, width];
        let decoders = &files[count + source];
        decoders.check_names(&[&decoder])?;
        decoders.find(
            &decoder,
            &shape,
            "[d_transcoder, layers from its own on, d_model]",
        )?;
        let rule = match (jump_relu, settings.k) {
            (true, _) => ActivationRule::JumpRelu {
                threshold: file.thresholds(&threshold, features, "[d_transcoder]")?,
            },
            (false, Some(k)) if k > features => {
                return Err(config.bad("k", format!("a whole number from 1 to {features}")));
            }
            (false, Some(k)) => ActivationRule::top_k(k),
            (false, None) => ActivationRule::Relu,
        };
        layers.push(StoredLayer {
            encoder: part(source, &encoder, &[features, width], 0, false),
            encoder_bias: file.vector(&b_enc, features, "[d_transcoder]")?,
            decoder_bias: file.vector(&b_dec, width, "[d_model]")?,
            rule,
            skip: None,
            decoders: (0..count - source)
                .map(|further| DecoderPlace {
                    part: part(count + source, &decoder, &shape, further * width, false),
                    stride: (count - source) * width,
                })
                .collect(),
            factor_in: 1.0,
            factor_out: 1.0,
        });
        sites.push(settings.input(&config, source as u32)?);
        output_sites.push(settings.output(&config, source as u32)?);
    }
    let mut description = description(
        "circuit_tracer",
        folder,
        [features, width],
        sites,
        output_sites,
        &layers,
        &files,
    );
    description.model = settings.model;
    Ok(StoredCrossLayer {
        description,
        files,
        layers,
        gated_by_lengths: false,
    })
}

fn open_llamascopium(folder: &Path) -> Result<StoredCrossLayer> {
    let config_path = folder.join(llamascopium::CONFIG);
    let config = ConfigFile::parse(&config_path, &read_bytes(&config_path)?)?;
    config.text("sae_type", "clt")?;
    let width = config.count("d_model")?;
    let features = llamascopium::features(&config, width)?;
    let (sites, output_sites) = (config.sites("hook_points_in")?, config.sites("hook_points_out")?);
    let count = sites.len();
    if count == 0 || output_sites.len() != count {
        return Err(config.bad(
            "hook_points_out",
            format!("{count} sites, as hook_points_in has (and at least one)"),
        ));
    }
    if config.optional_flag("use_decoder_bias")? == Some(false) {
        return Err(config.unsupported("use_decoder_bias", "true"));
    }
    let gated_by_lengths = config
        .optional_flag("sparsity_include_decoder_norm")?
        .unwrap_or(true);
    let activation = Activation::read(&config, features)?;
    let scaled = match config.optional_text("norm_activation")?.as_deref() {
        None | Some("dataset-wise") => true,
        Some("inference") => false,
        Some(_) => return Err(config.unsupported("norm_activation", "dataset-wise, inference")),
    };
    let mut harmless = llamascopium::HARMLESS.to_vec();
    harmless.extend([
        "init_cross_layer_decoder_all_zero",
        "decode_with_csr",
        "sparsity_threshold_for_csr",
    ]);
    config.finish(&harmless)?;

    let weights = WeightsFile::open(&folder.join(llamascopium::WEIGHTS))?;
    let threshold = "activation_function.log_jumprelu_threshold";
    let mut names = vec!["W_E".to_owned(), "b_E".to_owned()];
    names.extend((0..count).flat_map(|target| [format!("W_D.{target}"), format!("b_D.{target}")]));
    names.extend((activation == Activation::JumpRelu).then(|| threshold.to_owned()));
    names.extend(sites.iter().chain(&output_sites).map(|site| norm_tensor(*site)));
    weights.check_names(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    weights.find("W_E", &[count, width, features], "[layers, d_model, d_sae]")?;
    for target in 0..count {
        let shape = [target + 1, features, width];
        weights.find(
            &format!("W_D.{target}"),
            &shape,
            "[layers up to its own, d_sae, d_model]",
        )?;
    }
    let biases = weights.matrix_rows("b_E", [count, features], "[layers, d_sae]")?;
    let thresholds = match activation {
        Activation::JumpRelu => Some(weights.matrix_rows(threshold, [count, features], "[layers, d_sae]")?),
        _ => None,
    };
    let root = (width as f64).sqrt();
    let factor = |site: Site| match scaled {
        true => dataset_factor(&weights, &norm_tensor(site), root),
        false => Ok(1.0),
    };
    let divided = |values: &[f32], factor: f64| -> Vec<f32> {
        values
            .iter()
            .map(|value| (f64::from(*value) / factor) as f32)
            .collect()
    };
    let mut layers = Vec::new();
    for layer in 0..count {
        let (factor_in, factor_out) = (factor(sites[layer])?, factor(output_sites[layer])?);
        let rule = match (activation, &thresholds) {
            (Activation::JumpRelu, Some(logarithms)) => {
                let row = logarithms[layer * features..][..features].iter();
                ActivationRule::JumpRelu {
                    threshold: row
                        .map(|log| (f64::from(*log).exp() / factor_in) as f32)
                        .collect(),
                }
            }
            (Activation::TopK(k), _) => ActivationRule::top_k(k),
            _ => ActivationRule::Relu,
        };
        let decoder_bias = weights.vector(&format!("b_D.{layer}"), width, "[d_model]")?;
        layers.push(StoredLayer {
            encoder: part(
                0,
                "W_E",
                &[count, width, features],
                layer * width * features,
                true,
            ),
            encoder_bias: divided(&biases[layer * features..][..features], factor_in),
            decoder_bias: divided(&decoder_bias, factor_out),
            rule,
            skip: None,
            decoders: (layer..count)
                .map(|target| DecoderPlace {
                    part: part(
                        0,
                        &format!("W_D.{target}"),
                        &[target + 1, features, width],
                        layer * features * width,
                        false,
                    ),
                    stride: width,
                })
                .collect(),
            factor_in,
            factor_out,
        });
    }
    let files = vec![weights];
    let description = description(
        "llamascopium",
        folder,
        [features, width],
        sites,
        output_sites,
        &layers,
        &files,
    );
    Ok(StoredCrossLayer {
        description,
        files,
        layers,
        gated_by_lengths,
    })
}

fn open_gemma_scope_2(folder: &Path) -> Result<StoredCrossLayer> {
    let files = layer_files(folder, "params_layer_")?;
    let count = files.len();
    let [width, features] = files[0].matrix_shape("w_enc", "[d_in, d_sae]")?;
    let mut layers = Vec::new();
    for (source, file) in files.iter().enumerate() {
        let skip = file.has("affine_skip_connection");
        let mut names = vec!["w_enc", "w_dec", "b_enc", "b_dec", "threshold"];
        names.extend(skip.then_some("affine_skip_connection"));
        file.check_names(&names)?;
        file.find("w_enc", &[width, features], "[d_in, d_sae]")?;
        // Its second axis also says how many files there should be: a set that has lost its last layer is refused.
        let shape = [features, count, width];
        file.find(
            "w_dec",
            &shape,
            "[d_sae, layers (one file params_layer_{i} each), d_in]",
        )?;
        if skip {
            file.find("affine_skip_connection", &[width, width], "[d_in, d_in]")?;
        }
        layers.push(StoredLayer {
            encoder: part(source, "w_enc", &[width, features], 0, true),
            encoder_bias: file.vector("b_enc", features, "[d_sae]")?,
            decoder_bias: file.vector("b_dec", width, "[d_in]")?,
            rule: ActivationRule::JumpRelu {
                threshold: at_least_zero(file.vector("threshold", features, "[d_sae]")?),
            },
            skip: skip.then(|| part(source, "affine_skip_connection", &[width, width], 0, true)),
            decoders: (source..count)
                .map(|target| DecoderPlace {
                    part: part(source, "w_dec", &shape, target * width, false),
                    stride: count * width,
                })
                .collect(),
            factor_in: 1.0,
            factor_out: 1.0,
        });
    }
    let last = count as u32;
    let mut description = description(
        "gemma_scope_2",
        folder,
        [features, width],
        (0..last).map(Site::MlpIn).collect(),
        (0..last).map(Site::MlpOut).collect(),
        &layers,
        &files,
    );
    description.model = names_along(folder).iter().rev().find_map(|part| {
        let size = part.rsplit("--").next()?.strip_prefix("gemma-scope-2-")?;
        Some(format!("google/gemma-3-{size}"))
    });
    Ok(StoredCrossLayer {
        description,
        files,
        layers,
        gated_by_lengths: false,
    })
}
