"""Which features change the outcome: contrasts within prompts, families, spread beyond chance."""
import numpy as np
from scipy import special

from families import adjust, spread, spread_of_z
from log import ARMS, BASELINE, VALUE_A, VALUE_B
from tables import (Z95, cochran_mantel_haenszel, detectable_difference, proportion_interval, risk_difference)

COMPARISONS = ("value_b_vs_value_a", "value_a_vs_baseline", "value_b_vs_baseline", "both_values_vs_baseline")
ALPHA = 0.05


class Moments:
    """Counts, means and sums of squared deviations of groups."""

    def __init__(self, count, mean, squares):
        self.count, self.mean, self.squares = count, mean, squares

    def take(self, *index):
        return Moments(self.count[index], self.mean[index], self.squares[index])

    def over(self, axis):
        """The groups along an axis together."""
        count = self.count.sum(axis, keepdims=True)
        mean = (self.count * self.mean).sum(axis, keepdims=True) / np.maximum(count, 1)
        squares = (self.squares + self.count * (self.mean - mean) ** 2).sum(axis)
        return Moments(count.squeeze(axis), mean.squeeze(axis), squares)

    def variance(self):
        return self.squares / (self.count - 1)


def causal(log):
    trials, stop, bet, unknown = (log.grid(name) for name in ("trials", "stop", "bet", "unknown"))
    known = trials - unknown
    moments = Moments(*(log.grid(name) for name in ("amounts", "amount_mean", "amount_squares")))
    stops, amounts = Sides(stop, known, unknown), AmountSides(moments, bet - moments.count)
    rows = {"stop": [], "amount": []}
    for comparison in COMPARISONS:
        rows["stop"].append(stop_contrast(*stops.of(comparison)))
        rows["amount"].append(amount_contrast(*amounts.of(comparison)))
    families = []
    for number, comparison in enumerate(COMPARISONS):
        both = [rows["stop"][number], rows["amount"][number]]
        *values, figures = adjust(comparison, np.concatenate([own["p"] for own in both]))
        families.append(figures)
        for own, *parts in zip(both, *(np.split(value, 2) for value in values)):
            own["q"], own["q_any_dependence"], own["q_storey"] = parts
    layer, index = np.array(log.features).T
    effects = [
        {"columns": own | {"layer": layer, "feature": index, "comparison": comparison, "measure": measure}}
        for measure, all_rows in rows.items()
        for comparison, own in zip(COMPARISONS, all_rows)
    ]
    measures = []
    for measure, common in (("stop", stops.reference_variance()), ("amount", amounts.reference_variance())):
        specific, *_, shared = (
            spread(own["z"], own["effect"], own["standard_error"], variance)
            for own, variance in zip(rows[measure], (0, 0, 0, common))
        )
        own = rows[measure][0]
        measures.append(
            {
                "measure": measure,
                "features": len(log.features),
                "uninformative": int(np.isnan(own["z"]).sum()),
                "found": int((own["q"] <= ALPHA).sum()),
                "spread": specific,
                "shared": shared,
                "detectable": float(np.median(own["detectable"])) if "detectable" in own else None,
            }
        )
    return {
        "features": len(log.features),
        "trials": int(trials.sum()),
        "families": families,
        "measures": measures,
        "baseline_drift": [drift(stop[:, :, BASELINE], known[:, :, BASELINE])],
        "conditions": conditions(log, stop, known, moments),
        "layers": layers(layer, rows),
        "effects": effects,
    }


class Sides:
    """Events and known trials of the first and the second arm of a comparison, [feature, prompt]; the baseline is pooled."""

    def __init__(self, events, known, unknown):
        self.arrays = events, known, unknown

    def arm(self, arm):
        return [np.broadcast_to(array[:, :, arm].sum(0), array[:, :, 0].shape) if arm == BASELINE else array[:, :, arm] for array in self.arrays]

    def of(self, comparison):
        a, b, baseline = self.arm(VALUE_A), self.arm(VALUE_B), self.arm(BASELINE)
        return {
            "value_b_vs_value_a": (a, b),
            "value_a_vs_baseline": (baseline, a),
            "value_b_vs_baseline": (baseline, b),
            "both_values_vs_baseline": (baseline, [one + other for one, other in zip(a, b)]),
        }[comparison]

    def reference_variance(self):
        events, known, _ = self.arrays
        n, others = known[:, :, BASELINE].sum(0), known[:, :, 1:].sum((0, 2))
        rate = events[:, :, BASELINE].sum(0) / n
        return common_variance(n, others, rate * (1 - rate))


def common_variance(n, others, variance):
    weight = n * (others / (n + others))
    return (((weight / weight.sum()) ** 2) * variance / n).sum()


def stop_contrast(first, second):
    (k1, n1, unknown1), (k2, n2, unknown2) = first, second
    k1, n1, k2, n2 = (array.astype(np.float64) for array in (k1, n1, k2, n2))
    # The second arm is the first group: effects are second minus first.
    effect, error, low, high = risk_difference(k2, n2, k1, n1)
    z, p, odds, test = cochran_mantel_haenszel(k2, n2, k1, n1)
    squares = (k1 * ((n1 - k1) / n1) + k2 * ((n2 - k2) / n2)).sum(1)
    deviation = np.sqrt(squares / (n1 + n2 - 2).sum(1))
    rate = k1.sum(1) / n1.sum(1)
    return {
        "n_1": n1.sum(1).astype(int), "n_2": n2.sum(1).astype(int),
        "unknown_1": unknown1.sum(1), "unknown_2": unknown2.sum(1),
        "value_1": rate, "value_2": k2.sum(1) / n2.sum(1),
        "effect": effect, "ci_low": low, "ci_high": high, "standard_error": error,
        "odds_ratio": odds[0], "odds_low": odds[1], "odds_high": odds[2],
        "cohen_d": effect / deviation, "d_low": low / deviation, "d_high": high / deviation,
        "z": z, "p": p, "test": test,
        "detectable": detectable_difference(n1.sum(1), n2.sum(1), rate),
    }  # fmt: skip


class AmountSides:
    """Moments of known amounts of the first and the second arm of a comparison, [feature, prompt]."""

    def __init__(self, moments, silent):
        self.moments, self.silent = moments, silent
        everyone = slice(None)
        shape = silent[:, :, 0].shape
        pooled = moments.take(everyone, everyone, BASELINE).over(0)
        self.baseline = (
            Moments(*(np.broadcast_to(array, shape) for array in (pooled.count, pooled.mean, pooled.squares))),
            np.broadcast_to(silent[:, :, BASELINE].sum(0), shape),
        )
        self.a, self.b = ((moments.take(everyone, everyone, arm), silent[:, :, arm]) for arm in (VALUE_A, VALUE_B))
        self.both = (moments.take(everyone, everyone, slice(1, 3)).over(2), silent[:, :, 1:].sum(2))

    def of(self, comparison):
        return {
            "value_b_vs_value_a": (self.a, self.b),
            "value_a_vs_baseline": (self.baseline, self.a),
            "value_b_vs_baseline": (self.baseline, self.b),
            "both_values_vs_baseline": (self.baseline, self.both),
        }[comparison]

    def reference_variance(self):
        pooled = self.baseline[0]
        return common_variance(pooled.count[0], self.both[0].count.sum(0), pooled.variance()[0])


def amount_contrast(first, second):
    (a, silent_a), (b, silent_b) = first, second
    used = (a.count > 1) & (b.count > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        n1, n2 = a.count.astype(np.float64), b.count.astype(np.float64)
        weight = np.where(used, n1 * (n2 / (n1 + n2)), 0)
        share = weight / weight.sum(1, keepdims=True)
        effect = np.where(used, share * (b.mean - a.mean), 0).sum(1)
        parts = np.stack([share**2 * (group.variance() / group.count) for group in (a, b)])
        parts = np.where(used, parts, 0)
        variance = parts.sum((0, 2))
        error = np.sqrt(variance)
        df = 1 / np.where(used, (parts / variance[:, None]) ** 2 / np.stack([n1 - 1, n2 - 1]), 0).sum((0, 2))
        t = effect / error
        p = 2 * special.stdtr(df, -np.abs(t))
        half = special.stdtrit(df, 0.975) * error
        deviation = np.sqrt(np.where(used, a.squares + b.squares, 0).sum(1) / np.where(used, n1 + n2 - 2, 0).sum(1))
    informative = np.isfinite(t) & (error > 0)
    z = np.copysign(-special.ndtri(0.5 * p), t)
    p, z = np.where(informative, p, np.nan), np.where(informative, z, np.nan)
    low, high = effect - half, effect + half
    all_a, all_b = a.over(1), b.over(1)
    return {
        "n_1": all_a.count, "n_2": all_b.count, "unknown_1": silent_a.sum(1), "unknown_2": silent_b.sum(1),
        "value_1": all_a.mean, "value_2": all_b.mean,
        "effect": effect, "ci_low": low, "ci_high": high, "standard_error": error,
        "cohen_d": effect / deviation, "d_low": low / deviation, "d_high": high / deviation,
        "z": z, "p": p, "test": np.where(informative, "t", None),
    }  # fmt: skip


def drift(events, known):
    """Spread of the features' own baselines about the prompts' rates."""
    total = known.sum(0)
    rate = events.sum(0) / total
    variance = known * rate * (1 - rate) * (total - known) / (total - 1)
    found = spread_of_z(((events - known * rate) / np.sqrt(variance)).ravel())
    return {"measure": "stop", "baselines": found["features"]} | {key: found[key] for key in ("variance_z", "p_more", "p_less")}


def conditions(log, stop, known, moments):
    """Rates and means of every prompt and arm, with intervals."""
    events, n = stop.sum(0), known.sum(0)
    low, high = proportion_interval(events.astype(float), n.astype(float))
    pooled = moments.over(0)
    half = special.stdtrit(pooled.count - 1, 0.975) * np.sqrt(pooled.variance() / pooled.count)
    half[half == 0] = np.nan  # equal amounts have no interval
    rows = []
    for prompt, name in enumerate(log.prompts):
        for arm, arm_name in enumerate(ARMS):
            place, own = (prompt, arm), {"prompt": name, "arm": arm_name}
            rate, mean = events[place] / n[place], pooled.mean[place]
            rows.append(own | {"measure": "stop", "n": n[place], "value": rate, "low": low[place], "high": high[place]})
            rows.append(
                own
                | {"measure": "amount", "n": pooled.count[place], "value": mean}
                | {"low": mean - half[place], "high": mean + half[place]}
            )
    return rows


def layers(layer, rows):
    """Effects by block, value against value."""
    result = []
    for measure, (own, *_) in rows.items():
        for block in np.unique(layer):
            here = layer == block
            effect, found = own["effect"][here], own["q"][here] <= ALPHA
            result.append(
                {
                    "layer": block,
                    "measure": measure,
                    "features": int(here.sum()),
                    "raised": int((found & (effect > 0)).sum()),
                    "lowered": int((found & (effect < 0)).sum()),
                    "mean_effect": effect.mean(),
                    "mean_size": np.abs(effect).mean(),
                }
            )
    return result
