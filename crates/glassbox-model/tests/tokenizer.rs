//! Tokenizers of both kinds that the supported families use: pieces with byte fallback, and pieces of bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use glassbox_model::config::ModelConfig;
use glassbox_model::config_parse::parse_config;
use glassbox_model::tokenizer::{Beginning, LazyTokenizer, Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(vocab_size: usize, bos: Option<u32>) -> ModelConfig {
    let json = json!({
        "model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 1, "vocab_size": vocab_size, "max_position_embeddings": 8, "bos_token_id": bos,
        "eos_token_id": null,
    });
    parse_config(Path::new("config.json"), &json).unwrap()
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

fn vocabulary(pieces: &[String]) -> Value {
    pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.clone(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Llama 2's form: pieces with `▁` for spaces, single bytes for the rest, one space dropped at the start of a text.
fn fallback_pieces() -> Vec<String> {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let letters = "abcdefghijklmnopqrstuvwxyzO.,▁".chars().map(String::from);
    let merged = ["▁a", "▁b", "▁O", "on", "ce", "nce", "▁Once", "Once"].map(String::from);
    ["<unk>", "<s>", "</s>"]
        .map(String::from)
        .into_iter()
        .chain(bytes)
        .chain(letters)
        .chain(merged)
        .collect()
}

fn fallback_json(pieces: &[String]) -> Value {
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary(pieces),
            "merges": ["▁ a", "▁ b", "▁ O", "c e", "n ce", "o n", "▁O nce"]},
    })
}

fn fallback() -> Tokenizer {
    let pieces = fallback_pieces();
    let json = fallback_json(&pieces).to_string();
    Tokenizer::from_json(
        Path::new("tokenizer.json"),
        json.as_bytes(),
        &config(pieces.len(), Some(1)),
    )
    .unwrap()
}

/// GPT-2's form: every byte has a letter; no byte is unknown.
fn byte_level(bos: Option<u32>) -> Tokenizer {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let letters = (0..256)
        .filter(printable)
        .chain(0x100..0x144)
        .filter_map(char::from_u32)
        .map(String::from);
    let mut pieces: Vec<String> = letters.collect();
    pieces.extend(["Ġa", "on", "<|endoftext|>"].map(String::from));
    let end = pieces.len() as u32 - 1;
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(end, "<|endoftext|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary(&pieces), "merges": ["Ġ a", "o n"]},
    });
    let config = config(pieces.len(), bos);
    Tokenizer::from_json(Path::new("tokenizer.json"), json.to_string().as_bytes(), &config).unwrap()
}

#[test]
fn the_beginning_token_is_there_once_or_not_at_all() {
    let tokenizer = fallback();
    let plain = tokenizer.encode("a b", Beginning::Omit).unwrap();
    assert_eq!(plain.first(), tokenizer.id_of_piece("▁a").as_ref());
    let with: Vec<u32> = std::iter::once(1).chain(plain.clone()).collect();
    assert_eq!(tokenizer.encode("a b", Beginning::Add).unwrap(), with);
    assert_eq!(tokenizer.encode("a b", Beginning::AsTokenizer).unwrap(), with);
    assert_eq!(tokenizer.encode("", Beginning::Add).unwrap(), [1]);
    let spelled = tokenizer.encode("<s>a b", Beginning::Add).unwrap();
    assert_eq!(spelled.iter().filter(|&&id| id == 1).count(), 1);
    assert!(tokenizer.adds_beginning());

    let tokenizer = byte_level(Some(258));
    assert!(!tokenizer.adds_beginning());
    assert_eq!(tokenizer.encode("a", Beginning::AsTokenizer).unwrap().len(), 1);
    assert_eq!(tokenizer.encode("a", Beginning::Add).unwrap()[0], 258);
    let error = byte_level(None).encode("a", Beginning::Add).unwrap_err();
    assert!(error.to_string().contains("bos_token_id"), "{error}");
}

#[test]
fn a_leading_space_is_dropped_at_the_start_and_kept_after_a_prompt() {
    let tokenizer = fallback();
    let once = tokenizer.id_of_piece("▁Once").unwrap();
    let a = tokenizer.id_of_piece("▁a").unwrap();
    assert_eq!(tokenizer.decode(&[1, once, a, 2]).unwrap(), "Once a");
    assert_eq!(tokenizer.stream().push(once).unwrap(), "Once");
    // A beginning token alone has no text, so what follows is still the start.
    assert_eq!(tokenizer.stream_after(&[1]).unwrap().push(once).unwrap(), "Once");
    assert_eq!(tokenizer.stream_after(&[1, once]).unwrap().push(a).unwrap(), " a");
    // A lone space at the start is the one that is dropped; the next is kept.
    let space = tokenizer.id_of_piece("▁").unwrap();
    assert_eq!(tokenizer.decode(&[space, a]).unwrap(), " a");
}

#[test]
fn characters_come_out_whole() {
    let tokenizer = fallback();
    let ids = tokenizer.encode("a 叫 é", Beginning::Add).unwrap();
    let mut stream = tokenizer.stream();
    let parts: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(parts, ["", "a", " ", "", "", "叫", " ", "", "é"]);
    assert_eq!(stream.finish(), "");

    // Three bytes of a character at the end of the prompt, the last one generated.
    let bytes = [0xE5, 0x8F, 0xAB].map(|byte| 3 + byte);
    let mut stream = tokenizer.stream_after(&bytes[..2]).unwrap();
    assert_eq!(stream.incomplete(), [0xE5, 0x8F]);
    assert_eq!(stream.push(bytes[2]).unwrap(), "叫");

    // Bytes that never become a character.
    let mut stream = tokenizer.stream();
    assert_eq!(stream.push(bytes[0]).unwrap(), "");
    assert_eq!(stream.push(bytes[0]).unwrap(), "\u{FFFD}");
    assert_eq!(stream.finish(), "\u{FFFD}");
}

#[test]
fn tokens_are_shown_as_a_person_reads_them() {
    let tokenizer = fallback();
    let shown = |piece: &str| {
        tokenizer
            .token_text(tokenizer.id_of_piece(piece).unwrap())
            .unwrap()
    };
    assert_eq!(shown("▁Once"), " Once");
    assert_eq!(shown("<0xE5>"), "<0xE5>");
    assert_eq!(shown("<0x0A>"), "\n");
    assert_eq!(shown("<s>"), "<s>");
    assert_eq!(tokenizer.token_text(9999).unwrap(), "<id 9999>");
    let tokenizer = byte_level(None);
    let shown = |piece: &str| {
        tokenizer
            .token_text(tokenizer.id_of_piece(piece).unwrap())
            .unwrap()
    };
    assert_eq!(
        (shown("Ġa"), shown("å"), shown("<|endoftext|>")),
        (" a".into(), "<0xE5>".into(), "<|endoftext|>".into())
    );
}

#[test]
fn a_missing_or_damaged_file_is_an_error_only_when_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let lazy = LazyTokenizer::new(folder.path(), &config(300, Some(1)));
    let error = lazy.get().unwrap_err();
    assert!(matches!(error, TokenizerError::Missing { .. }));
    assert!(
        error.to_string().contains("tokenizer.json") && error.to_string().contains("token ids"),
        "{error}"
    );
    std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
    assert!(matches!(lazy.get(), Err(TokenizerError::Invalid { .. })));
    let pieces = fallback_pieces();
    std::fs::write(
        folder.path().join("tokenizer.json"),
        fallback_json(&pieces).to_string(),
    )
    .unwrap();
    let lazy = LazyTokenizer::new(folder.path(), &config(pieces.len(), Some(1)));
    assert_eq!(lazy.get().unwrap().hash(), lazy.get().unwrap().hash());
}

#[test]
fn tokens_that_the_model_lacks_are_refused() {
    let pieces = fallback_pieces();
    let path = Path::new("tokenizer.json");
    let json = fallback_json(&pieces).to_string();
    let error = Tokenizer::from_json(path, json.as_bytes(), &config(pieces.len() - 2, Some(1))).unwrap_err();
    assert!(error.to_string().contains("`Once`"), "{error}");
    // A special token beyond the model's rows is tolerated until a text holds it.
    let mut json = fallback_json(&pieces);
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(special(pieces.len() as u32, "<pad>"));
    let config = config(pieces.len(), Some(1));
    let tokenizer = Tokenizer::from_json(path, json.to_string().as_bytes(), &config).unwrap();
    assert!(tokenizer.encode("a", Beginning::Add).is_ok());
    let error = tokenizer.encode("a<pad>", Beginning::Add).unwrap_err();
    assert!(
        matches!(error, TokenizerError::OutsideVocabulary { .. }),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_text_survives_both_tokenizers(text in "[a-c .é叫🎰\n]{0,20}") {
        for tokenizer in [fallback(), byte_level(Some(258))] {
            let ids = tokenizer.encode(&text, Beginning::Add).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
            // Cut anywhere, a prompt and its continuation make the same text.
            for cut in 0..ids.len() {
                let mut stream = tokenizer.stream();
                let mut parts: String = ids[..cut].iter().map(|&id| stream.push(id).unwrap()).collect();
                let mut after = tokenizer.stream_after(&ids[..cut]).unwrap();
                parts.extend(ids[cut..].iter().map(|&id| after.push(id).unwrap()));
                prop_assert_eq!(&parts, &text);
            }
        }
    }

    #[test]
    fn any_ids_decode_alike_at_once_and_in_parts(ids in proptest::collection::vec(0_u32..259, 0..24)) {
        let tokenizer = byte_level(None);
        let mut stream = tokenizer.stream();
        let mut parts: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        parts.push_str(&stream.finish());
        prop_assert_eq!(&parts, &tokenizer.decode(&ids).unwrap());
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).unwrap()).collect();
        prop_assert_eq!(parts, String::from_utf8_lossy(&bytes).into_owned());
    }
}
