"""The peer `transformerlens`: activation patching as TransformerLens ships it."""
from importlib.metadata import version

import pandas
import torch
from protocol import serve
from transformer_lens import HookedTransformer, HookedTransformerConfig, patching
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from torch_training import SaelensStep
from transformers import LlamaForCausalLM

patching.tqdm = lambda rows: rows  # no progress bar


def hooked_model(folder):
    """The checkpoint's weights in a HookedTransformer, nothing folded or centred."""
    source = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    c = source.config
    config = HookedTransformerConfig(
        n_layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        n_ctx=256,
        d_head=c.hidden_size // c.num_attention_heads,
        n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads,
        d_mlp=c.intermediate_size,
        d_vocab=c.vocab_size,
        act_fn="silu",
        gated_mlp=True,
        normalization_type="RMS",
        final_rms=True,
        eps=c.rms_norm_eps,
        positional_embedding_type="rotary",
        rotary_dim=c.hidden_size // c.num_attention_heads,
        rotary_adjacent_pairs=False,
        device="cpu",
    )
    model = HookedTransformer(config)
    state = convert_llama_weights(source, config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    # What is not a weight (masks, rotary tables) is a buffer of the model itself.
    weights = {name for name, _ in model.named_parameters()}
    if weights & set(missing) or unexpected:
        raise ValueError(f"weights missing: {sorted(weights & set(missing))}, unexpected: {sorted(unexpected)}")
    return model.eval().requires_grad_(False)


class ResidualPatching:
    """`get_act_patch_resid_pre`: a clean residual into a corrupted run, cell by cell. `layers` are those that `run` does."""

    def __init__(self, model, clean, corrupted, token, layers):
        self.model = hooked_model(model)
        self.clean, self.corrupted = torch.tensor([clean]), torch.tensor([corrupted])
        self.token, self.layers = token, layers

    def metric(self, logits):
        return logits[0, -1, self.token]

    @torch.inference_mode()
    def cells(self, layers):
        _, cache = self.model.run_with_cache(self.clean)
        every_layer = len(layers) == self.model.cfg.n_layers
        if every_layer:
            return patching.get_act_patch_resid_pre(self.model, self.corrupted, cache, self.metric)
        cells = [(layer, position) for layer in layers for position in range(self.clean.shape[1])]
        return patching.generic_activation_patch(
            self.model,
            self.corrupted,
            cache,
            self.metric,
            patching.layer_pos_patch_setter,
            "resid_pre",
            index_df=pandas.DataFrame(cells, columns=["layer", "pos"]),
        )

    def run(self):
        return self.cells(self.layers)

    @torch.inference_mode()
    def check(self):
        logits = torch.stack([self.model(self.clean)[0, -1], self.model(self.corrupted)[0, -1]])
        return {"logits": logits, "cells": self.cells(list(range(self.model.cfg.n_layers)))}


if __name__ == "__main__":
    serve(
        {"residual_patching": ResidualPatching, "training_step": SaelensStep},
        {
            "torch": torch.__version__,
            "transformer_lens": version("transformer-lens"),
            "sae_lens": version("sae-lens"),
        },
    )
