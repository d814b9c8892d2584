"""Trains dictionaries with other programs, for the comparison of quality in `cargo xtask bench-peers --quality`.

    python train_dictionaries.py {saelens|dictionary_learning} RUN.json

RUN.json is one run: `rows` (safetensors file with tensor `rows` [tokens, width], f32), `architecture` (topk or
jumprelu), `features`, `active` (k, or the L0 aimed at), `seed`, `batch`, `learning_rate`, `out` (folder). It sees
every row once, in an order drawn from its seed, and its dictionary is written in the program's own format, for the site
`site`.

Each program trains as its own defaults say. Where a default is a number of steps that is longer than these short runs
(warm-up of the learning rate and of the sparsity penalty), it is the share of the run that stands in `SHARES`.
"""
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file

# Share of a run: warm-up of the learning rate, warm-up of the sparsity penalty, start of the linear decay.
SHARES = {"warm_up": 0.05, "sparsity_warm_up": 0.25, "decay_start": 0.8}


def batches(rows, size, seed):
    """Every row once, in the order of the seed; then again in another order, for whoever asks for more."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for first in range(0, len(rows) - size + 1, size):
            yield rows[order[first : first + size]]


def train_with_saelens(run, rows):
    from sae_lens import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(run["seed"])
    steps = len(rows) // run["batch"]
    common = dict(
        d_in=rows.shape[1],
        d_sae=run["features"],
        dtype="float32",
        device="cpu",
        normalize_activations="expected_average_only_in",
    )
    if run["architecture"] == "topk":
        dictionary = TopKTrainingSAE(TopKTrainingSAEConfig(k=run["active"], **common))
    else:
        dictionary = JumpReLUTrainingSAE(
            JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic",
                target_l0=run["active"],
                l0_warm_up_steps=int(SHARES["sparsity_warm_up"] * steps),
                **common,
            )
        )
    settings = SAETrainerConfig(
        total_training_samples=steps * run["batch"],
        train_batch_size_samples=run["batch"],
        lr=run["learning_rate"],
        lr_end=run["learning_rate"] / 10,
        lr_warm_up_steps=int(SHARES["warm_up"] * steps),
        lr_decay_steps=steps - int(SHARES["decay_start"] * steps),
        # Its default of 1000 steps is half of such a run.
        dead_feature_window=max(1, steps // 10),
        n_batches_for_norm_estimate=min(100, steps),
    )
    trainer = SAETrainer(settings, dictionary, batches(rows, run["batch"], run["seed"]))
    trained = trainer.fit()
    trained.cfg.metadata.hook_name = run["site"]
    trained.save_inference_model(run["out"])


def train_with_dictionary_learning(run, rows):
    # Only its trainers are used; the rest of the package reads activations out of models with nnsight.
    stand_in = types.ModuleType("nnsight")
    stand_in.LanguageModel = object
    sys.modules.setdefault("nnsight", stand_in)
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    steps = len(rows) // run["batch"]
    common = dict(
        steps=steps,
        activation_dim=rows.shape[1],
        dict_size=run["features"],
        layer=0,
        lm_name="peer",
        seed=run["seed"],
        device="cpu",
        warmup_steps=int(SHARES["warm_up"] * steps),
        decay_start=int(SHARES["decay_start"] * steps),
    )
    torch.manual_seed(run["seed"])
    if run["architecture"] == "topk":
        trainer = TopKTrainer(
            k=run["active"], lr=run["learning_rate"], threshold_start_step=steps // 2, **common
        )
        # The program's 10 million tokens never pass in such a run.
        trainer.dead_feature_threshold = max(1, steps // 10) * run["batch"]
    else:
        trainer = JumpReluTrainer(
            target_l0=run["active"],
            lr=run["learning_rate"],
            sparsity_warmup_steps=int(SHARES["sparsity_warm_up"] * steps),
            **common,
        )
    # As in its `trainSAE(normalize_activations=True)`: mean squared norm one, folded back at the end.
    factor = rows.pow(2).sum(-1).mean().sqrt()
    source = batches(rows / factor, run["batch"], run["seed"])
    for step in range(steps):
        trainer.update(step, next(source))
    trainer.ae.scale_biases(factor)
    out = Path(run["out"])
    out.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.cpu() for name, tensor in trainer.ae.state_dict().items()}, out / "ae.pt")
    settings = {name: value for name, value in trainer.config.items() if not isinstance(value, torch.Tensor)}
    (out / "config.json").write_text(json.dumps({"trainer": settings, "buffer": {}}, indent=1))
    # Its own configuration has no name of a site that other programs know.
    (out / "dictionary_source.json").write_text(json.dumps({"site": run["site"]}))


PROGRAMS = {"saelens": train_with_saelens, "dictionary_learning": train_with_dictionary_learning}


def main(program, run):
    # One thread: matrices of this size gain little from a second one, and sums don't depend on the machine.
    torch.set_num_threads(1)
    run = json.loads(Path(run).read_text())
    PROGRAMS[program](run, load_file(run["rows"])["rows"])


if __name__ == "__main__":
    main(*sys.argv[1:])
