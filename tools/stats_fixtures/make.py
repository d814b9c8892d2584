"""Reference values for glassbox-stats from SciPy, statsmodels and mpmath.

    python -m venv .venv-stats && .venv-stats/bin/pip install -r tools/stats_fixtures/requirements.txt
    .venv-stats/bin/python tools/stats_fixtures/make.py

writes crates/glassbox-stats/tests/fixtures/reference.json. Inputs are drawn from a fixed seed and rounded, so the
file is the same on every run. Infinite results are written as null.
"""

import json
import math
import pathlib
import warnings

import mpmath
import numpy as np
import scipy
import statsmodels
from scipy import optimize, stats
from statsmodels.stats import contingency_tables, multitest, proportion

mpmath.mp.dps = 40
RNG = np.random.default_rng(20240611)
TARGET = pathlib.Path(__file__).parents[2] / "crates/glassbox-stats/tests/fixtures/reference.json"


def finite(value):
    value = float(value)
    assert not math.isnan(value)
    return value if math.isfinite(value) else None


def rounded(values):
    return [float(f"{v:.5g}") for v in values]


def t_ln_p(t, df):
    """ln of the two-sided tail with 40 digits."""
    t, df = mpmath.mpf(float(t)), mpmath.mpf(float(df))
    x = df / (df + t * t)
    return float(mpmath.log(mpmath.betainc(df / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)))


def nct_cdf(t, df, delta):
    """Noncentral t by quadrature over S = sqrt(chi2/df); SciPy's nct.cdf gives NaN for some of these arguments."""
    with mpmath.workdps(22):
        t, df, delta = (mpmath.mpf(float(v)) for v in (t, df, delta))
        ln_scale = mpmath.log(2) + df / 2 * mpmath.log(df / 2) - mpmath.loggamma(df / 2)
        integrand = lambda s: mpmath.exp(ln_scale + (df - 1) * mpmath.log(s) - df * s * s / 2) * mpmath.ncdf(t * s - delta)
        width = 1 / mpmath.sqrt(2 * df)
        cuts = [1 + k * width for k in range(-14, 17, 2)]
        return float(mpmath.quad(integrand, [mpmath.mpf(0)] + [c for c in cuts if c > 0]))


def noncentrality_limits(t, df, alpha):
    """Noncentralities at which t is the upper and lower alpha/2 point."""
    def solve(probability):
        reach = 6 * math.sqrt(1 + t * t / (2 * df))
        return optimize.brentq(lambda delta: nct_cdf(t, df, delta) - probability, t - reach, t + reach, xtol=1e-12)
    return solve(1 - alpha / 2), solve(alpha / 2)


def sample_pairs():
    """Two samples each, from comfortable to degenerate but defined."""
    yield [1.0, 2.0], [3.0, 5.0]
    yield [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]
    yield [1e-9, 2e-9, 4e-9], [3e-9, 5e-9, 7e-9]
    yield [1e12, 1e12 + 8, 1e12 + 16], [1e12 + 4, 1e12 + 32]
    for n1, n2, shift, scale in [
        (3, 4, 0, 1), (5, 5, 1, 3), (10, 30, 0.5, 1), (30, 30, 2, 0.2), (2, 40, 1, 5), (200, 150, 0.1, 1),
        (60, 60, 12, 1), (120, 150, 40, 1), (400, 400, 0.02, 9),
    ]:
        yield rounded(RNG.normal(0, 1, n1)), rounded(RNG.normal(shift, scale, n2))
    # Sparse activations: mostly zeros.
    yield rounded(RNG.binomial(1, 0.2, 25) * RNG.gamma(2, 1, 25)), rounded(RNG.binomial(1, 0.6, 35) * RNG.gamma(2, 2, 35))


def welch():
    cases = []
    for first, second in sample_pairs():
        result = stats.ttest_ind(first, second, equal_var=False)
        interval = result.confidence_interval(0.95)
        cases.append({
            "first": first, "second": second, "t": result.statistic, "df": result.df, "p": result.pvalue,
            "ln_p": t_ln_p(result.statistic, result.df), "lower": interval.low, "upper": interval.high,
        })
    return cases


def paired():
    cases = []
    for n, shift, scale in [(2, 1, 1), (3, 0, 1), (10, 0.5, 1), (30, 0.1, 2), (100, 3, 1), (200, 25, 1)]:
        first = rounded(RNG.normal(0, 1, n))
        second = rounded(np.array(first) + RNG.normal(shift, scale, n))
        result = stats.ttest_rel(first, second)
        interval = result.confidence_interval(0.9)
        difference = np.array(first) - np.array(second)
        d = difference.mean() / difference.std(ddof=1)
        lower, upper = noncentrality_limits(result.statistic, n - 1, 0.1)
        cases.append({
            "first": first, "second": second, "t": result.statistic, "df": result.df, "p": result.pvalue,
            "ln_p": t_ln_p(result.statistic, result.df), "lower": interval.low, "upper": interval.high,
            "d": d, "d_lower": lower / math.sqrt(n), "d_upper": upper / math.sqrt(n),
        })
    return cases


def t_tails():
    cases = []
    for df in [1, 2, 7, 30, 99, 1000, 30000, 400000, 2500000]:
        for t in [1e-6, 0.4, 1.3, 1.7, 1.75, 2.5, 6, 15, 38, 60, 1e3, 1e12]:
            cases.append([df, t, t_ln_p(t, df)])
    return cases


def cohens_d():
    cases = []
    for first, second in sample_pairs():
        a, b = np.array(first), np.array(second)
        n1, n2 = len(a), len(b)
        pooled = math.sqrt(((n1 - 1) * a.var(ddof=1) + (n2 - 1) * b.var(ddof=1)) / (n1 + n2 - 2))
        d = (a.mean() - b.mean()) / pooled
        scale = math.sqrt(n1 * n2 / (n1 + n2))
        lower, upper = noncentrality_limits(d * scale, n1 + n2 - 2, 0.05)
        cases.append({"first": first, "second": second, "d": d, "lower": lower / scale, "upper": upper / scale})
    return cases


def wilson():
    cases = []
    for k, n in [(0, 1), (1, 1), (0, 30), (30, 30), (1, 30), (7, 30), (15, 30), (81, 263), (5, 100000), (499, 1000)]:
        for level in [0.9, 0.95, 0.999]:
            lower, upper = proportion.proportion_confint(k, n, 1 - level, method="wilson")
            # Exact at the ends, where statsmodels leaves rounding.
            lower, upper = 0.0 if k == 0 else lower, 1.0 if k == n else upper
            cases.append({"successes": k, "trials": n, "level": level, "lower": lower, "upper": upper})
    return cases


def tables():
    """2×2 tables a, b, c, d without empty margins."""
    fixed = [
        (0, 10, 5, 5), (10, 0, 5, 5), (0, 3, 3, 0), (3, 0, 0, 3), (1, 0, 0, 1), (1, 1, 1, 1), (0, 1, 1, 30),
        (8, 2, 1, 5), (2, 8, 5, 1), (30, 0, 29, 1), (1, 29, 12, 18), (15, 15, 15, 15), (100, 900, 150, 850),
        (5, 10000, 20, 10000), (5000, 5000, 5200, 4800), (500, 0, 0, 500), (2000, 3000, 3000, 2000),
        (7, 3, 3, 7), (12, 5, 5, 12), (6, 24, 16, 14),
    ]
    drawn = [tuple(int(x) for x in RNG.integers(1, top, 4)) for top in [5, 10, 20, 40, 100, 1000] for _ in range(4)]
    return fixed + drawn


def two_by_two():
    cases = []
    for a, b, c, d in tables():
        table = np.array([[a, b], [c, d]])
        plain = stats.chi2_contingency(table, correction=False)
        yates = stats.chi2_contingency(table, correction=True)
        rd_lower, rd_upper = proportion.confint_proportions_2indep(a, a + b, c, c + d, compare="diff", method="newcomb")
        # statsmodels's own shift_zeros changes the empty cells only; the correction is of all four.
        where_empty = contingency_tables.Table2x2(table + 0.5 * (table.min() == 0), shift_zeros=False)
        always = contingency_tables.Table2x2(table + 0.5, shift_zeros=False)
        conditional = stats.contingency.odds_ratio(table, kind="conditional")
        exact = conditional.confidence_interval(0.95)
        cases.append({
            "cells": [[a, b], [c, d]],
            "fisher_p": stats.fisher_exact(table).pvalue,
            "chi2": plain.statistic, "chi2_p": plain.pvalue, "smallest_expected": float(plain.expected_freq.min()),
            "yates": yates.statistic, "yates_p": yates.pvalue,
            "rd": a / (a + b) - c / (c + d), "rd_lower": rd_lower, "rd_upper": rd_upper,
            "or_empty": list(map(float, [where_empty.oddsratio, *where_empty.oddsratio_confint(0.05)])),
            "or_always": list(map(float, [always.oddsratio, *always.oddsratio_confint(0.05)])),
            "log_or": list(map(float, [always.log_oddsratio, always.log_oddsratio_se, always.log_oddsratio_pvalue(),
                                       *always.log_oddsratio_confint(0.05)])),
            "or_conditional": [finite(conditional.statistic), finite(exact.low), finite(exact.high)],
        })
    return cases


def newcombe_paired(e, f, g, h, alpha):
    n = e + f + g + h
    (l1, u1), (l2, u2) = (proportion.proportion_confint(k, n, alpha, method="wilson") for k in (e + f, e + g))
    l1, l2 = (0.0 if k == 0 else v for k, v in ((e + f, l1), (e + g, l2)))
    u1, u2 = (1.0 if k == n else v for k, v in ((e + f, u1), (e + g, u2)))
    product = (e + f) * (g + h) * (e + g) * (f + h)
    if product == 0:
        phi = 0.0
    else:
        top = e * h - f * g
        phi = (max(top - n / 2, 0) if top > 0 else top) / math.sqrt(product)
    p1, p2 = (e + f) / n, (e + g) / n
    below = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    above = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2 - below, p1 - p2 + above


def paired_tables():
    cases = []
    fixed = [(36, 12, 2, 0), (1, 1, 7, 12), (0, 0, 0, 9), (9, 0, 0, 0), (0, 5, 0, 0), (5, 5, 5, 5), (10, 0, 7, 13),
             (0, 400, 10, 90), (20, 1, 1, 8), (0, 1, 0, 1), (300, 80, 120, 500), (3, 1500, 1400, 2)]
    drawn = [tuple(int(x) for x in RNG.integers(0, top, 4) + 1) for top in [4, 10, 60, 900] for _ in range(3)]
    for e, f, g, h in fixed + drawn:
        lower, upper = newcombe_paired(e, f, g, h, 0.05)
        m, k = f + g, min(f, g)
        if m == 0:
            exact, mid = 1.0, 1.0
        else:
            exact = float(contingency_tables.mcnemar([[e, f], [g, h]], exact=True).pvalue)
            mid = 1 - stats.binom.pmf(k, m, 0.5) / 2 if f == g else 2 * stats.binom.cdf(k - 1, m, 0.5) + stats.binom.pmf(k, m, 0.5)
        cases.append({"counts": [e, f, g, h], "rd": (f - g) / (e + f + g + h), "lower": lower, "upper": upper,
                      "exact_p": exact, "mid_p": float(mid)})
    return cases


def binomial():
    cases = []
    for k, n, p in [(0, 1, 0.5), (3, 10, 0.3), (0, 30, 0.05), (30, 30, 0.9), (12, 30, 0.6), (250, 1000, 0.3),
                    (10, 10000, 0.01), (900, 1000, 0.5), (4, 8, 0.5), (7, 9, 1e-6), (20, 60, 1 / 3)]:
        cases.append({"successes": k, "trials": n, "probability": p, "p": stats.binomtest(k, n, p).pvalue})
    return cases


def stratified():
    cases = []
    groups = [
        [(3, 7, 8, 2), (4, 6, 7, 3)],
        [(5, 25, 12, 18), (0, 30, 1, 29), (9, 21, 20, 10)],
        [(1, 0, 0, 1), (0, 1, 1, 0), (1, 1, 1, 1)],
        [tuple(int(x) for x in RNG.integers(1, 30, 4)) for _ in range(12)],
        [tuple(int(x) for x in RNG.integers(1, 4, 4)) for _ in range(40)],
    ]
    for group in groups:
        arrays = [np.array([[a, b], [c, d]]) for a, b, c, d in group]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = contingency_tables.StratifiedTable(arrays)
        plain, corrected = table.test_null_odds(False), table.test_null_odds(True)
        lower, upper = table.oddsratio_pooled_confint(0.05)
        cases.append({
            "strata": [[[a, b], [c, d]] for a, b, c, d in group],
            "chi2": float(plain.statistic), "p": float(plain.pvalue),
            "yates": float(corrected.statistic), "yates_p": float(corrected.pvalue),
            "odds_ratio": [float(table.oddsratio_pooled), float(lower), float(upper)],
        })
    return cases


def storey_grid(p):
    p, m = np.asarray(p), len(p)
    lambdas = np.arange(1, 20) * 0.05
    above = np.array([(p >= l).sum() for l in lambdas])
    pi0 = above / (m * (1 - lambdas))
    mse = above / (m**2 * (1 - lambdas) ** 2) * (1 - above / m) + (pi0 - np.quantile(pi0, 0.1)) ** 2
    return min(1.0, float(pi0[np.argmin(mse)]))


def families():
    cases = []
    lists = [
        [0.5], [0.01, 0.01, 0.01], [1.0, 1.0], [0.0, 1e-300, 0.04, 1.0], [0.03, 0.001, 0.03, 0.8, 0.02],
        rounded(RNG.uniform(0, 1, 50)), rounded(RNG.uniform(0, 1, 120) ** 3),
        rounded(np.concatenate([RNG.uniform(0, 1e-6, 20), np.round(RNG.uniform(0, 1, 100), 1)])),
    ]
    for p in lists:
        adjusted = {name: list(map(float, multitest.multipletests(p, method=method)[1]))
                    for name, method in [("bh", "fdr_bh"), ("by", "fdr_by"), ("bonferroni", "bonferroni"), ("holm", "holm")]}
        m = len(p)
        pi0 = min(1.0, (sum(x > 0.5 for x in p) + 1) / (m * 0.5))
        cases.append({"p": p, **adjusted, "simes": float(min(1.0, min(m * x / (i + 1) for i, x in enumerate(sorted(p))))),
                      "pi0": pi0, "pi0_grid": storey_grid(p)})
    return cases


def sign_flips():
    cases = []
    lists = [[1.0, 2.0, 3.0, 4.0], [0.3, -0.1, -0.2], [5.0, 5.0, -5.0, 5.0, 10.0, 5.0], [2.5], [-1.0, 4.0]]
    lists += [rounded(RNG.normal(shift, 1, n)) for n, shift in [(6, 0), (9, 0.7), (12, 0.5)]]
    lists += [[float(x) for x in RNG.integers(-3, 5, 12)]]
    for d in lists:
        nonzero = np.array([x for x in d if x != 0])
        if len(nonzero) == 1:
            p = 1.0
        else:
            p = stats.permutation_test((nonzero,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples",
                                       n_resamples=np.inf, vectorized=True).pvalue
        cases.append({"differences": d, "p": float(p)})
    return cases


def ranks():
    cases = []
    for n in [3, 5, 12, 40, 200]:
        x = rounded(RNG.normal(0, 1, n))
        noisy = rounded(np.array(x) + RNG.normal(0, 1, n))
        cases.append((x, noisy))
        cases.append(([float(v) for v in RNG.integers(0, 4, n) + np.arange(n) // 3], [float(v) for v in RNG.integers(0, 3, n) + np.arange(n) // 2]))
    out = []
    for x, y in cases:
        if len(set(x)) == 1 or len(set(y)) == 1:
            continue
        result = stats.spearmanr(x, y)
        if abs(result.statistic) > 1 - 1e-12:
            continue
        out.append({
            "first": x, "second": y, "rho": result.statistic, "p": result.pvalue, "ranks": list(map(float, stats.rankdata(x))),
            "value": y[0], "percentile": float(stats.percentileofscore(x, y[0], kind="mean")),
            "self_percentile": float(stats.percentileofscore(x, x[-1], kind="mean")),
            "quantiles": [float(np.quantile(x, q)) for q in (0.0, 0.025, 0.31, 0.5, 0.975, 1.0)],
        })
    return out


def power():
    unpaired, paired_cases = [], []
    for n1, n2, baseline, alpha, target in [(30, 30, 0.5, 0.05, 0.8), (100, 40, 0.2, 0.05, 0.9), (2000, 2000, 0.05, 0.001, 0.8),
                                            (200, 600, 0.0, 0.05, 0.8), (50, 50, 0.3, 0.01, 0.5)]:
        def power_at(difference):
            # statsmodels's second group is the reference; one tail at alpha/2 leaves out the far one.
            return proportion.power_proportions_2indep(difference, baseline, nobs1=n2, ratio=n1 / n2, alpha=alpha / 2,
                                                       alternative="larger", return_results=False)
        rise = optimize.brentq(lambda x: power_at(x) - target, 1e-6, 1 - baseline - 1e-9, xtol=1e-14)
        unpaired.append({"first": n1, "second": n2, "baseline": baseline, "alpha": alpha, "power": target, "rise": rise})
    for n, discordant, alpha, target in [(120, 0.25, 0.05, 0.8), (30, 0.6, 0.05, 0.8), (1000, 0.02, 0.01, 0.9)]:
        def excess(delta):
            return stats.norm.cdf((math.sqrt(n) * delta - stats.norm.isf(alpha / 2) * math.sqrt(discordant))
                                  / math.sqrt(discordant - delta**2)) - target
        delta = optimize.brentq(excess, 0, discordant * (1 - 1e-12), xtol=1e-14)
        paired_cases.append({"pairs": n, "discordant": discordant, "alpha": alpha, "power": target, "difference": delta})
    return {"unpaired": unpaired, "paired": paired_cases}


def main():
    reference = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__,
                     "mpmath": mpmath.__version__},
        "welch": welch(), "paired": paired(), "t_tails": t_tails(), "cohens_d": cohens_d(), "wilson": wilson(),
        "two_by_two": two_by_two(), "paired_tables": paired_tables(), "binomial": binomial(), "stratified": stratified(),
        "families": families(), "sign_flips": sign_flips(), "ranks": ranks(), "power": power(),
    }
    text = json.dumps(reference, allow_nan=False, separators=(",", ":"), default=float)
    # One case per line keeps differences readable.
    text = text.replace("},{", "},\n{").replace("],\"", "],\n\"")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text + "\n")


if __name__ == "__main__":
    main()
