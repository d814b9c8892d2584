//! Memory does not grow with the length of a corpus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Corpus, model, tokenizer};
use glassbox_corpus::{
    ActivationBatch, ActivationSource, ActivationType, ExtractRequest, ExtractSettings, ModelActivations,
    RowOptions, TokenRows, extract,
};
use glassbox_model::site::Site;
use glassbox_store::{Fault, Storage};

/// The largest resident size of this process so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

fn rows(corpus: &Corpus) -> TokenRows<'static> {
    let options = RowOptions {
        context: 64,
        ..RowOptions::default()
    };
    TokenRows::new(corpus.reader(), tokenizer(), model().config(), &options, None).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn peak_memory_is_flat_in_the_length_of_the_corpus() {
    let sites = [Site::ResidPost(0), Site::ResidPost(1)];
    let read = |documents: usize| {
        let corpus = Corpus::of_lengths(&vec![100; documents]);
        let folder = tempfile::tempdir().unwrap();
        let request = ExtractRequest {
            model: model(),
            model_hash: "hash".to_owned(),
            rows: rows(&corpus),
            settings: ExtractSettings {
                dtype: ActivationType::F16,
                batch_tokens: 512,
                shard_bytes: 1 << 20,
                ..ExtractSettings::of_sites(sites.to_vec())
            },
            out: folder.path().join("out"),
            resume: false,
            disk_limit: None,
        };
        let no_syncs = Storage::with_fault(Fault::StopBefore { step: u64::MAX });
        let manifest = extract(request, &no_syncs, &()).unwrap();
        let mut source = ModelActivations::new(model(), None, rows(&corpus), &sites, 512).unwrap();
        let (mut batch, mut tokens) = (ActivationBatch::new(), 0);
        while source.next(&mut batch).unwrap() {
            tokens += batch.len() as u64;
        }
        assert_eq!(tokens, manifest.tokens(None));
        tokens * manifest.bytes_per_token()
    };
    read(30);
    let before = peak();
    let bytes = read(250);
    let grown = peak() - before;
    // Eight times the corpus: its activations alone are several times what the process may have grown by.
    assert!(bytes > 12 << 20, "{bytes}");
    assert!(
        grown < 5 << 20,
        "grew by {grown} bytes over activations of {bytes}"
    );
}
