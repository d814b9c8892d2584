"""One step of dictionary training: PyTorch as one writes it by hand, and SAELens' own training classes.

Both start from the weights and the batch in a safetensors file: `encoder`, `decoder` [features, width], `rows`
[batch, width]; biases start at zero. A step is forward pass, backward pass, clipping (SAELens clips; by hand one mostly
does not) and Adam.
"""
import torch
from safetensors.torch import load_file


class PlainStep:
    """Squared error per row, with the k largest pre-activations of a row or with ReLU and an L1 penalty."""

    def __init__(self, file, architecture, active, l1_coefficient, learning_rate):
        tensors = load_file(file)
        self.rows = tensors["rows"]
        self.active = active if architecture == "topk" else None
        self.l1_coefficient = l1_coefficient
        self.w_enc = torch.nn.Parameter(tensors["encoder"].T.contiguous())
        self.w_dec = torch.nn.Parameter(tensors["decoder"].clone())
        features, width = tensors["decoder"].shape
        self.b_enc = torch.nn.Parameter(torch.zeros(features))
        self.b_dec = torch.nn.Parameter(torch.zeros(width))
        parameters = [self.w_enc, self.w_dec, self.b_enc, self.b_dec]
        self.optimizer = torch.optim.Adam(parameters, learning_rate, foreach=True)

    def loss(self):
        pre_activations = (self.rows - self.b_dec) @ self.w_enc + self.b_enc
        if self.active is None:
            features = torch.relu(pre_activations)
            penalty = self.l1_coefficient * features.abs().sum(-1).mean()
        else:
            values, indices = pre_activations.topk(self.active, dim=-1)
            features = torch.zeros_like(pre_activations).scatter(-1, indices, torch.relu(values))
            penalty = 0.0
        reconstruction = features @ self.w_dec + self.b_dec
        return ((reconstruction - self.rows) ** 2).sum(-1).mean() + penalty

    def run(self):
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def check(self):
        loss = self.run()
        return {
            "loss": loss.reshape(1),
            "encoder": self.w_enc.T,
            "decoder": self.w_dec,
            "encoder_bias": self.b_enc,
            "decoder_bias": self.b_dec,
        }


class SaelensStep:
    """SAELens' TopK training class with its own forward pass, clipping and optimizer."""

    def __init__(self, file, active, learning_rate):
        from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

        tensors = load_file(file)
        self.rows = tensors["rows"]
        features, width = tensors["decoder"].shape
        self.dictionary = TopKTrainingSAE(
            TopKTrainingSAEConfig(
                d_in=width,
                d_sae=features,
                k=active,
                dtype="float32",
                device="cpu",
                # Its `use_sparse_activations` needs an operation that PyTorch does not have on a processor.
            )
        )
        with torch.no_grad():
            self.dictionary.W_enc.copy_(tensors["encoder"].T)
            self.dictionary.W_dec.copy_(tensors["decoder"])
            self.dictionary.b_enc.zero_()
            self.dictionary.b_dec.zero_()
        self.optimizer = torch.optim.Adam(self.dictionary.parameters(), learning_rate)
        self.dead = torch.zeros(features, dtype=torch.bool)

    def run(self):
        from sae_lens.saes.sae import TrainStepInput

        step = TrainStepInput(
            sae_in=self.rows,
            coefficients={},
            dead_neuron_mask=self.dead,
            n_training_steps=0,
            is_logging_step=False,
        )
        output = self.dictionary.training_forward_pass(step)
        self.optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.dictionary.parameters(), 1.0)
        self.optimizer.step()
        return output.loss

    def check(self):
        loss = self.run()
        return {
            "loss": loss.reshape(1),
            "encoder": self.dictionary.W_enc.T,
            "decoder": self.dictionary.W_dec,
            "encoder_bias": self.dictionary.b_enc,
            "decoder_bias": self.dictionary.b_dec,
        }
