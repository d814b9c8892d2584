"""Families of tests: q values, π₀, and the spread of many effects."""
import numpy as np
from scipy import special, stats

from tables import Z95


def storey_share(p):
    return min(1.0, (np.count_nonzero(p > 0.5) + 1) / (len(p) * 0.5)) if len(p) else 1.0


def benjamini_hochberg(p):
    order = np.argsort(p, kind="stable")
    q = np.minimum.accumulate((p[order] * (len(p) / np.arange(1, len(p) + 1)))[::-1])[::-1]
    result = np.empty(len(p))
    result[order] = np.minimum(q, 1.0)
    return result


def adjust(name, p):
    """The family of tests with these p values, NaN where a test has no information: q by Benjamini and Hochberg, under any
    dependence, and by Storey, and the family's figures."""
    family = np.where(np.isnan(p), 1.0, p)
    informative = p[~np.isnan(p)]
    silent = len(p) - len(informative)
    share = (storey_share(informative) * len(informative) + silent) / len(p)
    q = benjamini_hochberg(family)
    any_dependence = stats.false_discovery_control(family, method="by")
    order = np.argsort(family, kind="stable")
    raw = family[order] * (len(p) * share / np.arange(1, len(p) + 1))
    storey = np.empty(len(p))
    storey[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    for values in (q, any_dependence, storey):
        values[np.isnan(p)] = np.nan
    figures = {
        "name": name,
        "tests": len(p),
        "uninformative": silent,
        "pi0": share,
        "smallest_p": family.min(initial=1.0),
        "smallest_q": np.nanmin(q, initial=1.0),
    }
    return q, any_dependence, storey, figures


def spread_of_z(z):
    df, mean = len(z) - 1, z.mean()
    squares = ((z - mean) ** 2).sum()
    return {
        "features": len(z),
        "mean_z": mean,
        "variance_z": squares / df,
        "variance_low": squares / stats.chi2.isf(0.025, df),
        "variance_high": squares / stats.chi2.ppf(0.025, df),
        "p_more": special.chdtrc(df, squares),
        "p_less": special.chdtr(df, squares),
    }


def spread(z, effect, error, common_variance=0.0):
    """Spread of z, and the effects pooled by DerSimonian and Laird; `common_variance` is that of something that all share."""
    tested = ~np.isnan(z)
    result = spread_of_z(z[tested])
    used = tested & (error > 0)
    effect, error = effect[used], error[used]
    weight = 1 / error**2
    fixed = (effect * weight).sum() / weight.sum()
    q, df = (weight * (effect - fixed) ** 2).sum(), len(effect) - 1
    between = max(0.0, (q - df) / (weight.sum() - (weight**2).sum() / weight.sum()))
    weight = 1 / (error**2 + between)
    mean = (effect * weight).sum() / weight.sum()
    half = Z95 * np.sqrt(1 / weight.sum() + common_variance)
    typical = np.median(error)
    return result | {
        "mean_effect": mean,
        "mean_low": mean - half,
        "mean_high": mean + half,
        "standard_error": typical,
        "true_deviation": typical * np.sqrt(max(0.0, result["variance_z"] - 1)),
        "true_deviation_high": typical * np.sqrt(max(0.0, result["variance_high"] - 1)),
        "q_statistic": q,
        "q_df": df,
        "q_p": special.chdtrc(df, q),
        "i_squared": max(0.0, (q - df) / q),
        "tau_squared": between,
    }
