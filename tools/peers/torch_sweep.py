"""Sweeps in PyTorch: the studies' loop of one patched trial at a time, and the same work batched as well as PyTorch allows.

Both set a feature of one block's output at the last prompt token and at every generated one, and record features of
every block's output at the same places.
"""
import torch
from torch_models import dictionary, language_model
from transformers import DynamicCache


class BatchedSweep:
    """Greedy; every row sets another feature by its delta, the prompt is computed once, chosen features are recorded."""

    def __init__(self, model, dictionary_folder, prompt, layer, features, value, recorded, new_tokens):
        self.model, self.prompt = language_model(model), torch.tensor([prompt])
        self.layer, self.features, self.value = layer, torch.tensor(features), value
        self.new_tokens = new_tokens
        self.blocks = self.model.model.layers
        self.patched = dictionary(dictionary_folder, layer)
        chosen = torch.tensor(recorded)
        weights = [dictionary(dictionary_folder, block) for block in range(len(self.blocks))]
        self.encoders = [(w.encoder[chosen].T.contiguous(), w.folded_bias()[chosen]) for w in weights]
        self.patched_bias = self.patched.folded_bias()

    @torch.inference_mode()
    def run(self):
        rows = len(self.features)
        cache = DynamicCache(config=self.model.config)
        self.model.model(self.prompt[:, :-1], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(rows)
        records = torch.empty(self.new_tokens, len(self.blocks), rows, self.encoders[0][1].shape[0])
        step = 0
        encoder, bias = self.patched.encoder[self.features], self.patched_bias[self.features]
        decoder = self.patched.decoder[self.features]

        def patch(_module, _inputs, output):
            x = output[:, -1, :]
            now = torch.relu((x * encoder).sum(-1) + bias)
            output[:, -1, :] = x + (self.value - now)[:, None] * decoder

        def record(block):
            weights, offset = self.encoders[block]

            def hook(_module, _inputs, output):
                values = torch.addmm(offset, output[:, -1, :], weights)
                torch.clamp(values, min=0, out=records[step, block])

            return hook

        hooks = [self.blocks[self.layer].register_forward_hook(patch)]
        hooks += [module.register_forward_hook(record(block)) for block, module in enumerate(self.blocks)]
        token = self.prompt[:, -1:].expand(rows, 1)
        tokens = []
        for step in range(self.new_tokens):
            output = self.model(token, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(token)
        for hook in hooks:
            hook.remove()
        return torch.cat(tokens, dim=1), records

    def check(self):
        tokens, records = self.run()
        return {"tokens": tokens, "records": records}


class OneTrialAtATime:
    """The studies' loop: every trial computes its prompt, replaces the patched block's output by the reconstruction with one
    feature set, and encodes all features of all blocks at every token. Greedy, or sampled as the studies did."""

    def __init__(
        self, model, dictionary_folder, prompt, layer, patches, new_tokens, recorded=(), temperature=None, top_p=None
    ):
        """`patches`: for each trial of a run a feature and its value, or None for a baseline."""
        self.model, self.prompt = language_model(model), torch.tensor([prompt])
        self.layer, self.patches = layer, patches
        self.new_tokens, self.recorded = new_tokens, recorded
        self.sampling = dict(do_sample=False)
        if temperature is not None:
            self.sampling = dict(do_sample=True, temperature=temperature, top_p=top_p)
        self.blocks = self.model.model.layers
        self.model.generation_config.eos_token_id = None
        self.weights = [dictionary(dictionary_folder, block) for block in range(len(self.blocks))]

    def run(self):
        for patch in self.patches:
            self.trial(patch)

    @torch.inference_mode()
    def trial(self, setting):
        activations = []
        patched = self.weights[self.layer]

        def patch(_module, _inputs, output):
            feature, value = setting
            features = patched.encode(output[:, -1, :])
            features[:, feature] = value
            output[:, -1, :] = patched.decode(features)

        def record(block):
            def hook(_module, _inputs, output):
                activations.append(self.weights[block].encode(output[:, -1, :]).squeeze().clone())

            return hook

        hooks = []
        if setting is not None:
            hooks.append(self.blocks[self.layer].register_forward_hook(patch))
        hooks += [module.register_forward_hook(record(block)) for block, module in enumerate(self.blocks)]
        tokens = self.model.generate(
            self.prompt,
            attention_mask=torch.ones_like(self.prompt),
            max_new_tokens=self.new_tokens,
            pad_token_id=0,
            use_cache=True,
            **self.sampling,
        )
        for hook in hooks:
            hook.remove()
        return tokens[:, self.prompt.shape[1] :], activations

    def check(self):
        tokens, activations = self.trial(self.patches[0])
        activations = torch.stack(activations).view(self.new_tokens, len(self.blocks), -1)
        return {"tokens": tokens, "records": activations[:, :, self.recorded]}
