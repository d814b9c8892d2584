"""Makes what `cargo xtask bench-peers` works on: random models and random dictionaries.

    python make_models.py FOLDER

- `llama512`: the Llama architecture with d_model 512, 12 blocks, 8 heads on 4 key/value heads, 68 million parameters,
  f32, and a tokenizer in which token i is the word `wi`;
- `llama512_bf16`: the same weights, rounded to bf16;
- `dictionaries_32x/L0` to `L11`: 16,384 random unit directions each, encoder and decoder alike, ReLU, in SAELens' format.

Speed depends on none of the values. Every folder is written under another name first, so that it is whole or absent.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

WIDTH, BLOCKS, VOCABULARY, FEATURES = 512, 12, 32000, 16384
BEGIN, END = 1, 2


def model_config():
    return LlamaConfig(
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=1408,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=BEGIN,
        eos_token_id=END,
        rms_norm_eps=1e-5,
    )


def tokenizer():
    """A word-level tokenizer; spaces are words too, so that any text of known words survives decoding unchanged."""
    special = {"<unk>": 0, "<s>": BEGIN, "</s>": END}
    words = dict(special)
    words.update({f"w{i} ": i for i in range(3, VOCABULARY)})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            dict(
                id=i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True
            )
            for text, i in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }


def write_models(folder):
    torch.manual_seed(0)
    model = LlamaForCausalLM(model_config()).float().eval()
    for name, dtype in (("llama512", torch.float32), ("llama512_bf16", torch.bfloat16)):
        with whole_folder(folder / name) as part:
            model.to(dtype).save_pretrained(part)
            (part / "tokenizer.json").write_text(json.dumps(tokenizer()))


def write_dictionaries(folder):
    generator = torch.Generator().manual_seed(1)
    with whole_folder(folder) as part:
        for block in range(BLOCKS):
            rows = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=generator), dim=1)
            place = part / f"L{block}"
            place.mkdir()
            save_file(
                {
                    "W_enc": rows.T.contiguous(),
                    "b_enc": torch.full((FEATURES,), -0.1),
                    "W_dec": rows,
                    "b_dec": torch.zeros(WIDTH),
                },
                place / "sae_weights.safetensors",
            )
            config = {
                "architecture": "standard",
                "d_in": WIDTH,
                "d_sae": FEATURES,
                "dtype": "float32",
                "device": "cpu",
                "apply_b_dec_to_input": True,
                "normalize_activations": "none",
                "reshape_activations": "none",
                "metadata": {"model_name": "llama512", "hook_name": f"blocks.{block}.hook_resid_post"},
            }
            (place / "cfg.json").write_text(json.dumps(config, indent=2))


class whole_folder:
    """A folder that gets its name when everything in it is written."""

    def __init__(self, path):
        self.path, self.part = path, path.with_name(path.name + ".part")

    def __enter__(self):
        for old in (self.path, self.part):
            shutil.rmtree(old, ignore_errors=True)
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, error, *_):
        if error is None:
            self.part.rename(self.path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_models(folder)
    write_dictionaries(folder / "dictionaries_32x")
