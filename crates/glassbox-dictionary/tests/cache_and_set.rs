//! Dictionaries on demand within a budget, folders of them, and whether they fit a model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use glassbox_dictionary::{
    DictionaryCache, DictionaryError, DictionarySet, FeatureEdit, InputNormalisation, Precision, formats,
};
use glassbox_kernels::backend::NormKind;
use glassbox_model::config::ModelConfig;
use glassbox_model::config_parse::parse_config;
use glassbox_model::site::Site;
use serde_json::json;
use support::{Plain, backend, copy_folder, fixtures};

fn write(folder: &Path, site: Site, seed: u64, width: usize) -> u64 {
    let mut plain = Plain::random(seed, 8, width, "relu", InputNormalisation::None);
    plain.site = site;
    formats::write_glassbox(&plain.dictionary(), folder, Precision::F32, None).unwrap();
    formats::inspect(folder).unwrap().bytes
}

/// A Llama with two query heads of width 4 and one key/value head.
fn model(d_model: usize, n_layers: usize) -> ModelConfig {
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": d_model,
        "num_hidden_layers": n_layers, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "intermediate_size": 10, "vocab_size": 20, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    parse_config(Path::new("config.json"), &config).unwrap()
}

#[test]
fn the_cache_keeps_what_fits_and_drops_the_least_recently_used() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|l| folder.path().join(format!("layer{l}"))).collect();
    let bytes = (0..3)
        .map(|l| write(&paths[l], Site::ResidPost(l as u32), 4, 4))
        .max()
        .unwrap();
    let cache = DictionaryCache::new(&backend(), 2 * bytes);
    let first = Arc::downgrade(&cache.get(&paths[0]).unwrap());
    cache.get(&paths[1]).unwrap();
    cache.get(&paths[0]).unwrap();
    cache.get(&paths[2]).unwrap();
    assert!(first.upgrade().is_some(), "the one used last but one must stay");
    let statistics = cache.statistics();
    assert_eq!(
        (statistics.loads, statistics.hits, statistics.evictions),
        (3, 1, 1)
    );
    assert_eq!((statistics.bytes, statistics.budget), (2 * bytes, 2 * bytes));
    cache.get(&paths[1]).unwrap();
    assert_eq!(cache.statistics().loads, 4);
    // Another way to write a path is the same dictionary.
    cache.get(&paths[1].join("../layer1")).unwrap();
    assert_eq!(cache.statistics().loads, 4);
}

#[test]
fn dictionaries_in_use_are_never_counted_as_free() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..2).map(|l| folder.path().join(format!("layer{l}"))).collect();
    let bytes = write(&paths[0], Site::ResidPost(0), 4, 4);
    write(&paths[1], Site::ResidPost(1), 4, 4);
    let cache = DictionaryCache::new(&backend(), bytes);
    let held = cache.get(&paths[0]).unwrap();
    let error = cache.get(&paths[1]).unwrap_err();
    assert!(matches!(error, DictionaryError::OverBudget { .. }), "{error}");
    assert!(error.to_string().contains(&(2 * bytes).to_string()), "{error}");
    drop(held);
    cache.get(&paths[1]).unwrap();
}

#[test]
fn a_dictionary_beyond_the_budget_is_an_error_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    let bytes = write(&small, Site::ResidPost(0), 4, 4);
    let larger = write(&large, Site::ResidPost(1), 4, 12);
    let cache = DictionaryCache::new(&backend(), bytes);
    cache.get(&small).unwrap();
    let error = cache.get(&large).unwrap_err().to_string();
    assert!(
        error.contains(&larger.to_string()) && error.contains(&bytes.to_string()),
        "{error}"
    );
    cache.get(&small).unwrap();
    assert_eq!(
        cache.statistics().hits,
        1,
        "a dictionary that cannot fit must not empty the cache"
    );
    assert!(cache.get(&folder.path().join("absent")).is_err());
}

#[test]
fn a_folder_of_dictionaries_is_found_by_site() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("b"), Site::ResidPost(0), 4, 24);
    copy_folder(&fixtures().join("saelens/jumprelu"), &folder.path().join("a"));
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    std::fs::write(folder.path().join("README.md"), "").unwrap();
    let set = DictionarySet::open(folder.path()).unwrap();
    let sites: Vec<Site> = set.members().map(|(site, _)| site).collect();
    assert_eq!(sites, [Site::ResidPost(0), Site::ResidPost(1)]);
    let cache = DictionaryCache::new(&backend(), 1 << 20);
    assert_eq!(set.load(Site::ResidPost(1), &cache).unwrap().features(), 96);
    let error = set.member(Site::ResidPre(0)).unwrap_err().to_string();
    assert!(
        error.contains("blocks.0.hook_resid_pre") && error.contains("blocks.1.hook_resid_post"),
        "{error}"
    );

    set.check_model(&model(24, 2), None).unwrap();
    let error = set.check_model(&model(24, 1), None).unwrap_err();
    assert!(matches!(error, DictionaryError::SiteNotInModel { .. }), "{error}");
    assert!(
        error.to_string().contains("blocks.{0..0}.hook_resid_post"),
        "{error}"
    );
    let error = set.check_model(&model(32, 2), None).unwrap_err();
    assert!(
        matches!(
            error,
            DictionaryError::WidthMismatch {
                width: 24,
                model_width: 32,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("none (the residual stream is 32 wide)"),
        "{error}"
    );

    copy_folder(&fixtures().join("saelens/topk"), &folder.path().join("c"));
    let error = DictionarySet::open(folder.path()).unwrap_err();
    assert!(
        matches!(
            error,
            DictionaryError::DuplicateSite {
                site: Site::ResidPost(1),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_folder_without_dictionaries_lists_the_formats() {
    let folder = tempfile::tempdir().unwrap();
    let error = DictionarySet::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("llama_scope") && error.contains("cfg.json"),
        "{error}"
    );
    assert!(DictionarySet::open(&folder.path().join("absent")).is_err());
    // One dictionary is a folder of one.
    let set = DictionarySet::open(&fixtures().join("llama_scope/jumprelu")).unwrap();
    assert_eq!(set.members().count(), 1);
}

#[test]
fn a_dictionary_for_another_model_is_refused() {
    let mut dictionary = formats::load(&fixtures().join("saelens/jumprelu"), &backend())
        .unwrap()
        .description()
        .clone();
    dictionary.model.hash = Some("abc".to_owned());
    dictionary.check_model(&model(24, 2), None).unwrap();
    dictionary.check_model(&model(24, 2), Some("abc")).unwrap();
    let error = dictionary.check_model(&model(24, 2), Some("def")).unwrap_err();
    assert!(
        error.to_string().contains("abc") && error.to_string().contains("def"),
        "{error}"
    );

    // Widths of sites with heads count all heads: 2 query heads of width 4.
    dictionary.site = Site::Mixed(1);
    dictionary.output_site = Site::Mixed(1);
    (dictionary.width, dictionary.output_width) = (8, 8);
    dictionary.check_model(&model(24, 2), None).unwrap();
    (dictionary.width, dictionary.output_width) = (4, 4);
    let error = dictionary
        .check_model(&model(24, 2), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("attn.hook_k") && error.contains("attn.hook_v"),
        "{error}"
    );
}

/// TransformerLens centres what is written to the residual stream of models with layer norm when told to.
#[test]
fn activations_of_a_processed_model_are_refused_where_they_differ() {
    let mut dictionary = formats::load(&fixtures().join("saelens/jumprelu"), &backend())
        .unwrap()
        .description()
        .clone();
    dictionary.model.processing = vec!["center_writing_weights".to_owned(), "fold_ln".to_owned()];
    let mut config = model(24, 2);
    dictionary.check_model(&config, None).unwrap();
    config.norm = NormKind::Layer;
    let error = dictionary.check_model(&config, None).unwrap_err().to_string();
    assert!(error.contains("center_writing_weights"), "{error}");
    dictionary.model.processing.remove(0);
    dictionary.check_model(&config, None).unwrap();
}

#[test]
fn a_transcoder_encodes_and_decodes_but_cannot_be_edited() {
    let dictionary = Arc::new(formats::load(&fixtures().join("llama_scope/transcoder"), &backend()).unwrap());
    assert_eq!(dictionary.description().output_site, Site::MlpOut(1));
    let error = FeatureEdit::SetByDelta {
        feature: 0,
        value: 1.0,
    }
    .compile(&dictionary)
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("blocks.1.ln2.hook_normalized") && error.contains("blocks.1.hook_mlp_out"),
        "{error}"
    );
}
