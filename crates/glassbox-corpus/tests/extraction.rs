//! Extractions: what they hold, what a kill leaves, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Corpus, model, model_with_row, tokenizer};
use glassbox_corpus::{
    ActivationBatch, ActivationManifest, ActivationSource, ActivationStore, ActivationType, CorpusError,
    ExtractRequest, ExtractSettings, ExtractWatch, ModelActivations, Packing, RowOptions, Split,
    StoredActivations, StoredOrder, TokenRows, extract, forward_only,
};
use glassbox_kernels::CpuBackend;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::Beginning;
use glassbox_store::{Fault, Storage};

const SITES: [Site; 3] = [Site::ResidPost(1), Site::MlpOut(0), Site::Mixed(2)];

fn corpus() -> Corpus {
    Corpus::of_lengths(&[12, 40, 3, 25, 33, 1, 18, 60, 7, 22, 31, 9, 45, 14])
}

fn options() -> RowOptions {
    RowOptions {
        context: 16,
        held_out_share: 0.3,
        packing: Packing::DocumentPerRow,
        ..RowOptions::default()
    }
}

/// Shards of 25 tokens, batches of at most 64.
fn settings(dtype: ActivationType) -> ExtractSettings {
    let per_token = 3 * 128 * dtype.bytes() + 29;
    ExtractSettings {
        dtype,
        batch_tokens: 64,
        shard_bytes: 25 * per_token as u64,
        ..ExtractSettings::of_sites(SITES.to_vec())
    }
}

fn rows<'a>(corpus: &Corpus, model: &Model, only: Option<Split>) -> TokenRows<'a> {
    TokenRows::new(corpus.reader(), tokenizer(), model.config(), &options(), only).unwrap()
}

fn request<'a>(
    model: &'a Model,
    corpus: &Corpus,
    settings: ExtractSettings,
    out: &Path,
    resume: bool,
) -> ExtractRequest<'a, CpuBackend> {
    ExtractRequest {
        model,
        model_hash: "the model".to_owned(),
        rows: rows(corpus, model, None),
        settings,
        out: out.to_path_buf(),
        resume,
        disk_limit: None,
    }
}

fn run(corpus: &Corpus, dtype: ActivationType, out: &Path) -> ActivationManifest {
    extract(
        request(model(), corpus, settings(dtype), out, false),
        &Storage::new(),
        &(),
    )
    .unwrap()
}

/// Every file of a folder but the lock, by name.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| name != ".lock")
        .collect()
}

fn all(source: &mut dyn ActivationSource) -> ActivationBatch {
    let (mut whole, mut batch) = (ActivationBatch::new(), ActivationBatch::new());
    whole.reset(source.sites());
    while source.next(&mut batch).unwrap() {
        for (into, values) in whole.sites.iter_mut().zip(&batch.sites) {
            into.extend_from_slice(values);
        }
        whole.tokens.extend_from_slice(&batch.tokens);
        whole.documents.extend_from_slice(&batch.documents);
        whole
            .document_positions
            .extend_from_slice(&batch.document_positions);
        whole.rows.extend_from_slice(&batch.rows);
        whole.positions.extend_from_slice(&batch.positions);
        whole.splits.extend_from_slice(&batch.splits);
    }
    whole
}

fn stored(folder: &Path, split: Option<Split>, order: StoredOrder) -> StoredActivations {
    StoredActivations::new(
        Arc::new(ActivationStore::open(folder).unwrap()),
        &[],
        split,
        order,
    )
    .unwrap()
}

#[test]
fn what_is_stored_is_what_the_model_gives() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    for split in [None, Some(Split::Train), Some(Split::HeldOut)] {
        // The store holds both splits; batches of both at once give the same values to the bit only if nothing is left out.
        let expected =
            all(&mut ModelActivations::new(model(), None, rows(&corpus, model(), None), &SITES, 64).unwrap());
        for dtype in ActivationType::ALL {
            let out = folder.path().join(format!("{dtype}"));
            if !out.exists() {
                let manifest = run(&corpus, dtype, &out);
                assert!(manifest.shards.len() > 4 && manifest.shards[0].tokens == 25);
                let counts = manifest.counts.unwrap();
                assert_eq!(counts.tokens, expected.len() as u64);
                assert_eq!(counts.rows.kept_tokens, counts.tokens);
                let held_out = expected
                    .splits
                    .iter()
                    .filter(|&&split| split == Split::HeldOut)
                    .count();
                assert_eq!(counts.held_out_tokens, held_out as u64);
                ActivationStore::open(&out).unwrap().verify(|_| {}).unwrap();
            }
            let found = all(&mut stored(&out, split, StoredOrder::AsStored));
            let kept: Vec<usize> = (0..expected.len())
                .filter(|&i| split.is_none_or(|split| expected.splits[i] == split))
                .collect();
            assert_eq!(found.len(), kept.len());
            assert_eq!(
                found.tokens,
                kept.iter().map(|&i| expected.tokens[i]).collect::<Vec<_>>()
            );
            assert_eq!(
                found.documents,
                kept.iter().map(|&i| expected.documents[i]).collect::<Vec<_>>()
            );
            assert_eq!(
                found.rows,
                kept.iter().map(|&i| expected.rows[i]).collect::<Vec<_>>()
            );
            assert_eq!(
                found.positions,
                kept.iter().map(|&i| expected.positions[i]).collect::<Vec<_>>()
            );
            assert_eq!(
                found.document_positions,
                kept.iter()
                    .map(|&i| expected.document_positions[i])
                    .collect::<Vec<_>>()
            );
            assert_eq!(
                found.splits,
                kept.iter().map(|&i| expected.splits[i]).collect::<Vec<_>>()
            );
            let error = match dtype {
                ActivationType::F16 => 2.0_f32.powi(-11),
                ActivationType::Bf16 => 2.0_f32.powi(-8),
                ActivationType::F32 => 0.0,
            };
            for (found, expected) in found.sites.iter().zip(&expected.sites) {
                for (row, &i) in found.chunks(128).zip(&kept) {
                    for (value, expected) in row.iter().zip(&expected[i * 128..]) {
                        // Below 2^-14 half precision is spaced evenly.
                        assert!(
                            (value - expected).abs() <= error * expected.abs().max(6.2e-5),
                            "{value} {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_kill_at_any_step_and_a_resume_give_the_same_bytes() {
    let corpus = corpus();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    run(&corpus, ActivationType::F16, &whole);
    let expected = contents(&whole);
    let counting = Storage::with_fault(Fault::StopBefore { step: u64::MAX });
    let counted = folder.path().join("counted");
    extract(
        request(model(), &corpus, settings(ActivationType::F16), &counted, false),
        &counting,
        &(),
    )
    .unwrap();
    assert_eq!(contents(&counted), expected);
    let steps = counting.steps();
    assert!(steps > 60, "{steps}");
    for step in (0..steps).step_by(5) {
        let out = folder.path().join(format!("killed-{step}"));
        let storage = Storage::with_fault(Fault::StopBefore { step });
        extract(
            request(model(), &corpus, settings(ActivationType::F16), &out, false),
            &storage,
            &(),
        )
        .unwrap_err();
        let storage = Storage::with_fault(Fault::StopBefore { step: u64::MAX });
        extract(
            request(model(), &corpus, settings(ActivationType::F16), &out, true),
            &storage,
            &(),
        )
        .unwrap();
        assert_eq!(contents(&out), expected, "killed before step {step}");
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Stops after some passes.
struct StopAfter(Cell<u32>);

impl ExtractWatch for StopAfter {
    fn should_stop(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

#[test]
fn stops_keep_the_finished_shards_and_resumes_add_up() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("whole");
    let limited = ExtractSettings {
        tokens: Some(110),
        ..settings(ActivationType::F32)
    };
    let storage = Storage::new();
    let manifest = extract(
        request(model(), &corpus, limited.clone(), &whole, false),
        &storage,
        &(),
    )
    .unwrap();
    assert_eq!(manifest.tokens(None), 110);
    let sizes: Vec<u64> = manifest.shards.iter().map(|shard| shard.tokens).collect();
    assert_eq!(sizes, [25, 25, 25, 25, 10]);
    let out = folder.path().join("in-parts");
    let mut stops = 0;
    loop {
        // Each part gets two passes further, or makes its way over those that are stored already.
        match extract(
            request(model(), &corpus, limited.clone(), &out, stops > 0),
            &storage,
            &StopAfter(Cell::new(2)),
        ) {
            Err(CorpusError::Interrupted { shards, tokens, .. }) => assert_eq!(tokens, 25 * shards as u64),
            result => {
                result.unwrap();
                break;
            }
        }
        stops += 1;
        assert!(stops < 20);
    }
    assert!(stops > 0);
    assert_eq!(contents(&out), contents(&whole));
    // A whole extraction is left as it is.
    extract(
        request(model(), &corpus, limited.clone(), &out, true),
        &storage,
        &(),
    )
    .unwrap();
    assert_eq!(contents(&out), contents(&whole));
    let passes = forward_only(model(), rows(&corpus, model(), None), &limited, &()).unwrap();
    assert_eq!(passes, 110);
}

#[test]
fn a_full_disk_keeps_the_finished_shards() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("whole");
    let expected = run(&corpus, ActivationType::F16, &whole);
    let out = folder.path().join("full");
    let bytes = 3 * expected.shards[0].bytes;
    let storage = Storage::with_fault(Fault::DiskFullAfter { bytes });
    let error = extract(
        request(model(), &corpus, settings(ActivationType::F16), &out, false),
        &storage,
        &(),
    )
    .unwrap_err();
    assert!(
        error.is_resumable() && error.to_string().contains("the disk is full"),
        "{error}"
    );
    assert_eq!(
        fs::read(out.join("shard-00000.safetensors")).unwrap(),
        fs::read(whole.join("shard-00000.safetensors")).unwrap()
    );
    extract(
        request(model(), &corpus, settings(ActivationType::F16), &out, true),
        &Storage::new(),
        &(),
    )
    .unwrap();
    assert_eq!(contents(&out), contents(&whole));
    let limited = ExtractRequest {
        disk_limit: Some(1000),
        ..request(
            model(),
            &corpus,
            ExtractSettings {
                tokens: Some(20),
                ..settings(ActivationType::F16)
            },
            &folder.path().join("small"),
            false,
        )
    };
    let error = extract(limited, &Storage::new(), &()).unwrap_err();
    assert!(
        matches!(
            error,
            CorpusError::NoRoom {
                available: ..1000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_damaged_shard_of_a_whole_extraction_is_made_again_on_resume() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("whole");
    run(&corpus, ActivationType::F16, &whole);
    let out = folder.path().join("out");
    run(&corpus, ActivationType::F16, &out);
    let shard = out.join("shard-00001.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let resume = || {
        let request = request(model(), &corpus, settings(ActivationType::F16), &out, true);
        extract(request, &Storage::new(), &()).unwrap()
    };
    let mended = resume();
    assert!(mended.complete);
    assert_eq!(contents(&out), contents(&whole));
    assert_eq!(resume(), mended);
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let out = folder.path().join("out");
    run(&corpus, ActivationType::F16, &out);
    let refused = |settings, resume| {
        extract(
            request(model(), &corpus, settings, &out, resume),
            &Storage::new(),
            &(),
        )
        .unwrap_err()
        .to_string()
    };
    assert!(refused(settings(ActivationType::F16), false).contains("continue them with --resume"));
    let message = refused(
        ExtractSettings {
            sites: vec![Site::Embed],
            ..settings(ActivationType::Bf16)
        },
        true,
    );
    for expected in [
        "dtype: stored \"f16\", now \"bf16\"",
        "hook_embed",
        "tokens_per_shard",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.txt"), "").unwrap();
    let error = extract(
        request(model(), &corpus, settings(ActivationType::F16), &other, false),
        &Storage::new(),
        &(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    let store = ActivationStore::open(&out).unwrap();
    store.ensure_model("the model").unwrap();
    assert!(
        store
            .ensure_model("another")
            .unwrap_err()
            .to_string()
            .contains("of another model")
    );
    assert!(
        store
            .site(Site::Embed)
            .unwrap_err()
            .to_string()
            .contains("blocks.1.hook_resid_post, blocks.0.hook_mlp_out")
    );
    assert!(
        store
            .row(0, store.tokens())
            .unwrap_err()
            .to_string()
            .contains("there is no token")
    );
    assert_eq!(store.row(2, 30).unwrap().len(), 128);
    assert!(matches!(
        ActivationStore::open(folder.path()),
        Err(CorpusError::NoActivations { .. })
    ));
}

#[test]
fn damaged_and_foreign_shards_are_named() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let out = folder.path().join("out");
    let manifest = run(&corpus, ActivationType::F32, &out);
    let (first, second) = (
        out.join("shard-00000.safetensors"),
        out.join("shard-00001.safetensors"),
    );
    let good = fs::read(&first).unwrap();
    let read = || -> Result<(), CorpusError> {
        let store = Arc::new(ActivationStore::open(&out)?);
        let mut source = StoredActivations::new(store, &[], None, StoredOrder::AsStored)?;
        while source.next(&mut ActivationBatch::new())? {}
        Ok(())
    };
    read().unwrap();

    // A NaN in the last site, row 7, column 5.
    let mut bad = good.clone();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&good[8..8 + header]).unwrap();
    let start = json["blocks.2.attn.hook_z"]["data_offsets"][0].as_u64().unwrap() as usize;
    let at = 8 + header + start + 4 * (7 * 128 + 5);
    bad[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&first, &bad).unwrap();
    let message = read().unwrap_err().to_string();
    assert!(
        message.contains("shard-00000.safetensors: `blocks.2.attn.hook_z`, row 7 holds NaN in column 5"),
        "{message}"
    );
    let message = ActivationStore::open(&out)
        .unwrap()
        .verify(|_| {})
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("shard-00000.safetensors: its checksum is not the recorded one"),
        "{message}"
    );

    // Another shard in its place, a shard of another model, a shorter one, none.
    fs::write(&first, fs::read(&second).unwrap()).unwrap();
    let message = read().unwrap_err().to_string();
    assert!(
        message.contains("its shard is `1`, expected `0`") || message.contains("bytes, the manifest says"),
        "{message}"
    );
    let text = String::from_utf8_lossy(&good[8..8 + header]).replace("the model", "my models");
    let foreign: Vec<u8> = [&good[..8], text.as_bytes(), &good[8 + header..]].concat();
    fs::write(&first, foreign).unwrap();
    let message = read().unwrap_err().to_string();
    assert!(
        message.contains("its model is `my models`, expected `the model`"),
        "{message}"
    );
    fs::write(&first, &good[..good.len() - 1]).unwrap();
    assert!(read().unwrap_err().to_string().contains("the manifest says"));
    fs::remove_file(&first).unwrap();
    assert!(
        read()
            .unwrap_err()
            .to_string()
            .contains("shard-00000.safetensors")
    );

    // An extraction that is not finished.
    let unfinished = ActivationManifest {
        complete: false,
        ..manifest
    };
    glassbox_store::write_json(&Storage::new(), &out.join("activations.json"), &unfinished).unwrap();
    assert!(matches!(read(), Err(CorpusError::Unfinished { .. })));
}

#[test]
fn a_value_beyond_half_precision_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = Corpus::of_texts(vec!["win the game".into(), "you lose the coin".into()]);
    let coin = *tokenizer()
        .encode("you lose the coin", Beginning::Omit)
        .unwrap()
        .last()
        .unwrap();
    // 1e5 as bfloat16.
    let model = model_with_row(folder.path(), "model.embed_tokens.weight", coin as usize, 0x47C3);
    let run = |dtype, name: &str| {
        let settings = ExtractSettings {
            sites: vec![Site::Embed],
            ..settings(dtype)
        };
        extract(
            request(&model, &corpus, settings, &folder.path().join(name), false),
            &Storage::new(),
            &(),
        )
    };
    let error = run(ActivationType::F16, "f16").unwrap_err();
    let CorpusError::TooLarge { document: 1, .. } = error else {
        panic!("{error}")
    };
    let message = error.to_string();
    assert!(
        message.contains("`hook_embed` is 99840")
            && message.contains("65504; store this site as bf16 or f32"),
        "{message}"
    );
    run(ActivationType::Bf16, "bf16").unwrap();
}

#[test]
fn stored_activations_continue_and_shuffle() {
    let (corpus, folder) = (Corpus::of_lengths(&[60; 60]), tempfile::tempdir().unwrap());
    let request = ExtractRequest {
        settings: ExtractSettings {
            shard_bytes: 700 * (3 * 128 * 2 + 29),
            ..settings(ActivationType::F16)
        },
        rows: TokenRows::new(
            corpus.reader(),
            tokenizer(),
            model().config(),
            &RowOptions {
                packing: Packing::Packed,
                context: 64,
                ..options()
            },
            None,
        )
        .unwrap(),
        ..request(
            model(),
            &corpus,
            settings(ActivationType::F16),
            folder.path(),
            false,
        )
    };
    let manifest = extract(request, &Storage::new(), &()).unwrap();
    assert!(manifest.shards.len() > 3, "{}", manifest.shards.len());
    for order in [StoredOrder::AsStored, StoredOrder::Shuffled { seed: 4 }] {
        let make = || stored(folder.path(), Some(Split::Train), order);
        let mut first = make();
        let (mut batch, mut given) = (ActivationBatch::new(), Vec::new());
        let mut states = vec![first.state()];
        for _ in 0..2 {
            while first.next(&mut batch).unwrap() {
                given.push(batch.clone());
                states.push(first.state());
            }
            first.rewind().unwrap();
            states.pop();
            states.push(first.state());
        }
        let half = given.len() / 2;
        assert_eq!(given[..half] == given[half..], order == StoredOrder::AsStored);
        for pass in [&given[..half], &given[half..]] {
            let mut places: Vec<(u64, u32)> = pass
                .iter()
                .flat_map(|batch| batch.rows.iter().copied().zip(batch.positions.iter().copied()))
                .collect();
            assert_eq!(places.len() as u64, manifest.tokens(Some(Split::Train)));
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len() as u64, manifest.tokens(Some(Split::Train)));
        }
        for (i, state) in states.iter().enumerate().take(given.len()) {
            let mut resumed = make();
            let text = serde_json::to_string(state).unwrap();
            resumed.restore(&serde_json::from_str(&text).unwrap()).unwrap();
            assert!(resumed.next(&mut batch).unwrap());
            assert_eq!(batch, given[i], "{i}");
        }
        let error = stored(folder.path(), None, order)
            .restore(&states[0])
            .unwrap_err();
        assert!(matches!(error, CorpusError::StateMismatch { .. }), "{error}");
    }
}
