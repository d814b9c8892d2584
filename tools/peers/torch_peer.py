"""The peer `torch`: PyTorch and transformers, as the studies used them, and as well as batching can make them."""
import torch
import transformers
from protocol import serve
from torch_models import dictionary, language_model
from torch_sweep import BatchedSweep, OneTrialAtATime
from torch_training import PlainStep

transformers.logging.set_verbosity_error()


class Prefill:
    """Logits at every position of every row."""

    def __init__(self, model, tokens, check_positions):
        self.model, self.tokens = language_model(model), torch.tensor(tokens)
        self.check_positions = check_positions

    @torch.inference_mode()
    def run(self):
        return self.model(self.tokens).logits

    def check(self):
        logits = self.run()
        return {"logits": torch.stack([logits[row, position] for row, position in self.check_positions])}


class Generate:
    """transformers' own greedy `generate`."""

    def __init__(self, model, tokens, new_tokens):
        self.model, self.tokens, self.new_tokens = language_model(model), torch.tensor(tokens), new_tokens
        # No token ends a row, so that both sides generate the same number.
        self.model.generation_config.eos_token_id = None

    def run(self):
        return self.model.generate(
            self.tokens,
            attention_mask=torch.ones_like(self.tokens),
            max_new_tokens=self.new_tokens,
            do_sample=False,
            pad_token_id=0,
            use_cache=True,
        )

    def check(self):
        return {"tokens": self.run()[:, self.tokens.shape[1] :]}


class FeatureGradient:
    """Gradients of one feature's pre-activation at the last position with respect to the residual stream before the first
    block and after every block."""

    def __init__(self, model, dictionary_folder, tokens, layer, feature):
        self.model, self.tokens, self.layer = language_model(model), torch.tensor(tokens), layer
        weights = dictionary(dictionary_folder, layer)
        self.row, self.bias = weights.encoder[feature].clone(), weights.bias[feature].clone()

    def run(self):
        embedded = self.model.model.embed_tokens(self.tokens).detach().requires_grad_(True)
        residuals = []

        def keep(_module, _inputs, output):
            output.retain_grad()
            residuals.append(output)

        hooks = [block.register_forward_hook(keep) for block in self.model.model.layers]
        self.model.model(inputs_embeds=embedded, use_cache=False)
        for hook in hooks:
            hook.remove()
        (residuals[self.layer][0, -1] @ self.row + self.bias).backward()
        return [embedded.grad, *(residual.grad for residual in residuals)]

    def check(self):
        return {"gradients": torch.stack([gradient[0] for gradient in self.run()])}


if __name__ == "__main__":
    serve(
        {
            "prefill": Prefill,
            "generate": Generate,
            "gradient": FeatureGradient,
            "batched_sweep": BatchedSweep,
            "one_trial_at_a_time": OneTrialAtATime,
            "training_step": PlainStep,
        },
        {"torch": torch.__version__, "transformers": transformers.__version__},
    )
