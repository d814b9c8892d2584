//! A published small model must tell its story. Runs where the model's folder lies beside the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use glassbox_kernels::CpuBackend;
use glassbox_model::generate::{GenerationRequest, Prompts, StopReason};
use glassbox_model::model::Model;
use glassbox_model::tokenizer::{Beginning, Tokenizer};

/// The published greedy continuation of the beginning-of-sequence token alone.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One \
day, she saw a big, red ball. She wanted to play with it, but it was too high.\n\
Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I want to play \
with your ball, but I can't find it.\"";

#[test]
fn greedy_decoding_tells_the_published_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/stories260k");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let model = Model::open(CpuBackend, &folder).unwrap();
    let tokenizer = Tokenizer::open(&folder, model.config()).unwrap();
    let prompts = [tokenizer.encode("", Beginning::Add).unwrap()];
    // The story's last sentence ends with this; the model would go on after it.
    let stops = ["I can't find it.\"".to_owned()];
    let request = GenerationRequest::new(Prompts::Own(&prompts), 300)
        .text(&tokenizer)
        .stop_strings(&stops);
    let generated = model.generate(&mut model.workspace(), request).unwrap();
    assert_eq!(generated[0].stop, StopReason::StopString(0));
    assert_eq!(tokenizer.decode(&generated[0].tokens).unwrap(), STORY);
}
