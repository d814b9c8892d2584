"""Models and dictionaries of the peer `torch`, each loaded once."""
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM


@cache
def language_model(folder):
    """The model in f32, whatever its file holds."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model.requires_grad_(False)


@dataclass
class Dictionary:
    """A ReLU dictionary; encoder and decoder [features, width]."""

    encoder: torch.Tensor
    bias: torch.Tensor
    decoder: torch.Tensor
    decoder_bias: torch.Tensor

    def encode(self, x):
        return torch.relu((x - self.decoder_bias) @ self.encoder.T + self.bias)

    def folded_bias(self):
        """The encoder's bias for inputs from which the decoder's bias is not subtracted."""
        return self.bias - self.encoder @ self.decoder_bias

    def decode(self, features):
        return features @ self.decoder + self.decoder_bias


@cache
def dictionary(folder, layer):
    tensors = load_file(Path(folder) / f"L{layer}" / "sae_weights.safetensors")
    return Dictionary(tensors["W_enc"].T.contiguous(), tensors["b_enc"], tensors["W_dec"], tensors["b_dec"])
