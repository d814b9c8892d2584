"""What is in the log: counts, repeats, plans, texts, outcomes, joins."""
import numpy as np

from log import ARMS


def audit(log, fewest=10):
    grids = {name: log.grid(name) for name in ("rows", "trials", "stop", "bet", "unknown", "valid", "empty", "echo", "texts")}
    rows, trials = grids["rows"], grids["trials"]
    amounts, means = log.grid("amounts"), log.grid("amount_mean")
    counts, often = np.unique(trials, return_counts=True)
    # The number that most cells have was planned, if at least half of them have it.
    commonest = max(zip(often, counts))
    planned = int(commonest[1]) if 2 * commonest[0] >= trials.size else None
    surplus = int(rows.sum() - trials.sum())
    totals = {
        "rows": int(rows.sum()),
        "trials": int(trials.sum()),
        "surplus_rows": surplus,
        "features": len(log.features),
        "layers": len({layer for layer, _ in log.features}),
        "cells": trials.size,
        "listed_features": len(set(log.listed)),
        "planned": planned and {"cells": trials.size, "per_cell": planned, "trials": trials.size * planned},
    }
    treatments = []
    for prompt, name in enumerate(log.prompts):
        for arm, arm_name in enumerate(ARMS):
            own = {key: int(grid[:, prompt, arm].sum()) for key, grid in grids.items() if key != "texts"}
            known = amounts[:, prompt, arm]
            treatments.append(
                own
                | {
                    "treatment": f"{name}/{arm_name}",
                    "cells": len(log.features),
                    "fewest": int(trials[:, prompt, arm].min()),
                    "most": int(trials[:, prompt, arm].max()),
                    "mean_amount": float((known * means[:, prompt, arm]).sum() / known.sum()) if known.sum() else None,
                }
            )
    layer = np.array([layer for layer, _ in log.features])
    listed = np.array([layer for layer, _ in sorted(set(log.listed))])
    layers = [
        {
            "layer": int(own),
            "features": int((layer == own).sum()),
            "rows": int(rows[layer == own].sum()),
            "listed_features": int((listed == own).sum()),
        }
        for own in np.unique(layer)
    ]
    return {"totals": totals, "treatments": treatments, "layers": layers, "findings": findings(log, grids, planned, fewest)}


def findings(log, grids, planned, fewest):
    """(kind, count) of what stands out."""
    rows, trials = grids["rows"], grids["trials"]
    wanted = max(planned or fewest, fewest)
    judged = trials >= max(fewest, 2)
    found = [
        ("unusable_rows", log.unusable),
        ("repeated_trials", int(rows.sum() - trials.sum())),
        ("too_few_trials", int((trials < wanted).sum())),
        ("empty_responses", int(grids["empty"].sum())),
        ("echoed_prompt", int(grids["echo"].sum())),
        ("identical_responses", int((judged & (grids["texts"] == 1)).sum())),
        ("identical_responses", int((trials - grids["texts"]).sum())),
        ("clamped_amounts", clamped(log)),
        ("unjoined", len(set(log.listed) ^ set(log.features)) or None if log.listed else 0),
    ]
    invalid = int((trials - grids["valid"]).sum())
    degenerate = sum(int(grids[name].sum() > 0) for name in ("stop", "bet")) == 1
    found += [("validity", invalid), ("degenerate_outcomes", int(trials.sum()) if degenerate else 0)]
    return [{"kind": kind, "count": count} for kind, count in found if count]


def clamped(log):
    """Amounts at the lowest and the highest value, where these hold far more than the others."""
    prompts = {}
    for file in log.files:
        for (prompt, amount), count in file["amount_counts"].items():
            own = prompts.setdefault(prompt, {})
            own[amount] = own.get(amount, 0) + count
    at_ends = 0
    for amounts in prompts.values():
        ends, total = amounts[min(amounts)] + amounts[max(amounts)], sum(amounts.values())
        if len(amounts) >= 5 and 4 * ends > total and ends * len(amounts) > 4 * total:
            at_ends += ends
    return int(at_ends)
