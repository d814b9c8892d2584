"""Reference values for glassbox-stats: trends, many effects, strata, words, power. See make.py for how to run.

writes crates/glassbox-stats/tests/fixtures/effects.json. statsmodels and SciPy where they have the function; elsewhere the
stated formula, computed here by another route: whole enumeration of tables in rational numbers, or 40 digits of mpmath.
"""

import itertools
import json
import math
import pathlib
from fractions import Fraction

import mpmath
import numpy as np
import scipy
import statsmodels
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats import contingency_tables, meta_analysis, proportion

mpmath.mp.dps = 40
RNG = np.random.default_rng(20241107)
TARGET = pathlib.Path(__file__).parents[2] / "crates/glassbox-stats/tests/fixtures/effects.json"
DOSES = [0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]


def rounded(values):
    return [float(f"{v:.5g}") for v in values]


def chi2_ln_upper(x, df):
    x, df = mpmath.mpf(float(x)), mpmath.mpf(float(df))
    return float(mpmath.log(mpmath.gammainc(df / 2, x / 2, mpmath.inf, regularized=True)))


def normal_ln_two_sided(z):
    return float(mpmath.log(mpmath.erfc(abs(mpmath.mpf(float(z))) / mpmath.sqrt(2))))


def drawn_doses(probabilities, trials):
    return [[x, int(RNG.binomial(n, p)), int(n)] for x, p, n in zip(DOSES, probabilities, trials)]


def trend_strata():
    """Lists of strata, each a list of [dose, successes, trials]."""
    yield [[[0.0, 0, 1], [1.0, 1, 1]]]
    yield [[[0.0, 1, 30], [1.0, 0, 30], [2.0, 3, 30]]]
    yield [[[0.3, 10, 30], [0.3, 4, 20], [2.0, 15, 30]]]
    yield [[[0.0, 5000, 9000], [1.0, 4600, 9000], [2.0, 3100, 9000]]]
    yield [[[1e6, 3, 30], [1e6 + 1, 9, 30], [1e6 + 2, 12, 30]]]
    for p in ([0.5] * 7, [0.02] * 7, np.linspace(0.2, 0.9, 7), np.linspace(0.97, 0.1, 7)):
        yield [drawn_doses(p, [30] * 7)]
        yield [drawn_doses(p, [30] * 7), drawn_doses(np.array(p) * 0.7, [30, 12, 5, 60, 30, 30, 1])]


def statsmodels_trend(strata):
    """statsmodels's statistic, mean and variance per stratum (N - 1), summed."""
    deviation = variance = 0.0
    for groups in strata:
        table = np.array([[s, n - s] for _, s, n in groups], float)
        if table.sum(0).min() == 0:
            continue
        result = contingency_tables.Table(table, shift_zeros=False).test_ordinal_association(
            row_scores=np.array([x for x, _, _ in groups]), col_scores=np.array([1.0, 0.0]))
        deviation += result.statistic - result.null_mean
        variance += result.null_sd ** 2
    return deviation, variance


def exact_variance(strata, binomial):
    """Deviation, variance, slope and its variance in rational numbers."""
    deviation = variance = squares = numerator = slope_variance = Fraction(0)
    for groups in strata:
        rows = [(Fraction(x), s, n) for x, s, n in groups]
        total = sum(n for *_, n in rows)
        m = sum(s for _, s, _ in rows)
        mean = sum(x * n for x, _, n in rows) / total
        sxx = sum(n * (x - mean) ** 2 for x, _, n in rows)
        if sxx == 0 or total < 2:
            continue
        own = sum(s * (x - mean) for x, s, _ in rows)
        squares, numerator = squares + sxx, numerator + own
        slope_variance += sum(n * (x - mean) ** 2 * Fraction(2 * s + 1, 2 * n + 2) * Fraction(2 * n - 2 * s + 1, 2 * n + 2) for x, s, n in rows)
        if 0 < m < total:
            deviation += own
            share = Fraction(m, total) * Fraction(total - m, total)
            variance += share * sxx * (1 if binomial else Fraction(total, total - 1))
    return deviation, variance, numerator / squares, slope_variance / squares ** 2


def trends():
    cases = []
    for strata in trend_strata():
        deviation, variance = statsmodels_trend(strata)
        exact, mantel, slope, slope_variance = exact_variance(strata, False)
        armitage = exact_variance(strata, True)[1]
        # statsmodels subtracts sums of squares; where doses are far from 0 only the exact value has its digits.
        if max(abs(x) for groups in strata for x, _, _ in groups) < 100:
            assert math.isclose(deviation, exact, rel_tol=1e-10, abs_tol=1e-10) and math.isclose(variance, mantel, rel_tol=1e-11)
        z = float(exact) / math.sqrt(mantel)
        half = stats.norm.isf(0.025) * math.sqrt(slope_variance)
        cases.append({"strata": strata, "statistic": float(exact), "variance": float(mantel), "binomial_variance": float(armitage),
                      "z": z, "p": math.erfc(abs(z) / math.sqrt(2)), "ln_p": normal_ln_two_sided(z),
                      "slope": float(slope), "slope_lower": float(slope) - half, "slope_upper": float(slope) + half})
    return cases


def exact_trends():
    """All tables with the margins, their probabilities as fractions."""
    cases = []
    lists = [
        [[[0.0, 0, 1], [1.0, 1, 1]]],
        [[[0.3, 0, 4], [0.5, 1, 5], [0.75, 0, 4], [1.25, 3, 4]]],
        [[[0.3, 1, 6], [0.5, 0, 6], [2.0, 4, 5]], [[0.3, 4, 5], [0.75, 5, 5], [2.0, 4, 5]]],
        [[[1.0, 2, 5], [2.0, 2, 5], [4.0, 2, 5]]],
        [[[0.1, 0, 5], [0.2, 0, 5], [0.7, 2, 5]], [[0.1, 1, 4], [0.7, 1, 3]], [[5.0, 2, 4], [5.0, 1, 3]]],
    ]
    for strata in lists:
        distribution = {Fraction(0): Fraction(1)}
        observed = expected = Fraction(0)
        for groups in strata:
            # Doses as the decimals they were written as.
            rows = [(Fraction(str(x)), s, n) for x, s, n in groups]
            total, m = sum(n for *_, n in rows), sum(s for _, s, _ in rows)
            own = {}
            for choice in itertools.product(*[range(n + 1) for *_, n in rows]):
                if sum(choice) == m:
                    weight = Fraction(math.prod(math.comb(n, k) for (_, _, n), k in zip(rows, choice)), math.comb(total, m))
                    t = sum(x * k for (x, _, _), k in zip(rows, choice))
                    own[t] = own.get(t, 0) + weight
            distribution_next = {}
            for (a, p), (b, q) in itertools.product(distribution.items(), own.items()):
                distribution_next[a + b] = distribution_next.get(a + b, 0) + p * q
            distribution = distribution_next
            observed += sum(x * s for x, s, _ in rows)
            expected += sum(x * n for x, _, n in rows) * Fraction(m, total)
        assert sum(distribution.values()) == 1
        p = sum(w for t, w in distribution.items() if abs(t - expected) >= abs(observed - expected))
        cases.append({"strata": strata, "p": float(p)})
    return cases


def slopes():
    cases = []
    for n, strata_count, slope, clusters in [(5, 1, 1, 2), (12, 1, 0, 4), (40, 2, 3, 10), (210, 2, -2, 30), (90, 5, 0.5, 45), (400, 3, 40, 60)]:
        strata = [int(i % strata_count) for i in range(n)]
        doses = [float(d) for d in RNG.choice(DOSES, n)]
        cluster = [int(c) for c in RNG.integers(0, clusters, n)]
        cluster[:2] = [0, 1]
        if n == 5:
            doses = [0.3, 0.5, 1.0, 0.3, 2.0]
        noise = RNG.normal(0, 1 + np.array(doses), n) + RNG.normal(0, 1, clusters)[cluster]
        amounts = rounded(10 + 20 * np.array(strata) + slope * np.array(doses) + noise)
        design = np.column_stack([np.array(doses)] + [(np.array(strata) == s).astype(float) for s in range(strata_count)])
        model = OLS(np.array(amounts), design)
        robust = model.fit(cov_type="HC3", use_t=True)
        grouped = model.fit(cov_type="cluster", cov_kwds={"groups": np.array(cluster)}, use_t=True)
        def figures(fit):
            df = float(getattr(fit, "df_resid_inference", None) or fit.df_resid)
            t = float(fit.tvalues[0])
            x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
            ln_p = float(mpmath.log(mpmath.betainc(mpmath.mpf(df) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)))
            return [float(fit.params[0]), float(fit.bse[0]), t, df, ln_p, *map(float, fit.conf_int(0.05)[0])]
        cases.append({"doses": doses, "amounts": amounts, "strata": strata, "clusters": cluster,
                      "hc3": figures(robust), "clustered": figures(grouped)})
    return cases


def stratified_means():
    """Weighted mean differences with Satterthwaite's degrees of freedom; one stratum is SciPy's Welch test."""
    cases = []
    for sizes in [[(2, 2)], [(5, 9)], [(30, 12), (3, 40)], [(8, 8), (2, 2), (20, 5)]]:
        groups = [(rounded(RNG.normal(20 * i, 1 + i, n1)), rounded(RNG.normal(20 * i + 1, 3, n2))) for i, (n1, n2) in enumerate(sizes)]
        weights = np.array([n1 * n2 / (n1 + n2) for n1, n2 in sizes])
        weights /= weights.sum()
        difference = sum(w * (np.mean(a) - np.mean(b)) for w, (a, b) in zip(weights, groups))
        parts = [(w * w * np.var(g, ddof=1) / len(g), len(g) - 1) for w, pair in zip(weights, groups) for g in pair]
        variance = sum(v for v, _ in parts)
        df = variance**2 / sum(v * v / k for v, k in parts)
        t = difference / math.sqrt(variance)
        half = stats.t.isf(0.025, df) * math.sqrt(variance)
        p = 2 * stats.t.sf(abs(t), df)
        if len(groups) == 1:
            welch = stats.ttest_ind(*groups[0], equal_var=False)
            assert math.isclose(welch.statistic, t) and math.isclose(welch.pvalue, p) and math.isclose(welch.df, df)
        cases.append({"groups": groups, "figures": [float(v) for v in (difference, math.sqrt(variance), t, df, p, difference - half, difference + half)]})
    return cases


def many_effects():
    cases = []
    for n, tau in [(2, 0), (3, 1), (10, 0), (30, 0.5), (225, 0), (225, 2)]:
        errors = rounded(RNG.uniform(0.05, 0.4, n))
        effects = rounded(0.1 + RNG.normal(0, 1, n) * np.sqrt(np.array(errors) ** 2 + (0.2 * tau) ** 2))
        result = meta_analysis.combine_effects(np.array(effects), np.array(errors) ** 2, method_re="chi2", use_t=False)
        table = result.conf_int(alpha=0.05)
        q, df = float(result.q), n - 1
        tau2 = max(0.0, float(result.tau2))
        random_weights = 1 / (np.array(errors) ** 2 + tau2)
        random_mean = float((random_weights * effects).sum() / random_weights.sum())
        random_error = float(random_weights.sum() ** -0.5)
        if result.tau2 > 0:
            assert math.isclose(random_mean, float(result.mean_effect_re), rel_tol=1e-10)
            assert math.isclose(random_error, float(result.sd_eff_w_re), rel_tol=1e-10)
        z = np.array(effects) / np.array(errors)
        variance = float(z.var(ddof=1))
        cases.append({
            "effects": effects, "errors": errors, "q": q, "p": float(stats.chi2.sf(q, df)), "ln_p": chi2_ln_upper(q, df),
            "i_squared": max(0.0, (q - df) / q), "tau_squared": tau2,
            "fixed": [float(result.mean_effect_fe), float(result.sd_eff_w_fe), float(table[0][0]), float(table[0][1])],
            "random": [random_mean, random_error],
            "z_variance": variance, "z_lower": df * variance / stats.chi2.isf(0.025, df), "z_upper": df * variance / stats.chi2.ppf(0.025, df),
            "z_more": float(stats.chi2.sf(df * variance, df)), "z_ln_more": chi2_ln_upper(df * variance, df),
            "z_less": float(stats.chi2.cdf(df * variance, df)),
        })
    return cases


def strata_of_tables():
    yield [(1, 0, 0, 1)]
    yield [(0, 2, 1, 1)]
    yield [(3, 7, 8, 2), (4, 6, 7, 3)]
    yield [(5, 25, 12, 18), (0, 30, 1, 29), (9, 21, 20, 10)]
    yield [(1, 0, 0, 1), (0, 1, 1, 0), (1, 1, 1, 1)]
    yield [(0, 30, 4, 26), (1, 29, 3, 27)]
    yield [(0, 108, 9, 99), (2, 106, 30, 78)]
    yield [(500, 1500, 700, 1300), (40, 60, 900, 1100)]
    for count, top in [(2, 6), (2, 40), (4, 12), (12, 30), (40, 4)]:
        yield [tuple(int(x) for x in RNG.integers(1, top, 4)) for _ in range(count)]


def sato(group):
    """Mantel-Haenszel difference and Sato's variance in rational numbers."""
    weight = estimate = p_sum = q_sum = Fraction(0)
    for a, b, c, d in group:
        n1, n2 = a + b, c + d
        n = n1 + n2
        weight += Fraction(n1 * n2, n)
        estimate += Fraction(a * n2 - c * n1, n)
        p_sum += Fraction(n1 * n1 * c - n2 * n2 * a, n * n) + Fraction(n1 * n2 * (n2 - n1), 2 * n * n)
        q_sum += Fraction(a * (n2 - c) + c * (n1 - a), 2 * n)
    estimate /= weight
    return estimate, (estimate * p_sum + q_sum) / weight ** 2


def hull(group, alpha):
    z = stats.norm.isf(alpha / 2)
    weights = np.array([(a + b) * (c + d) / (a + b + c + d) for a, b, c, d in group])
    weights = weights / weights.sum()
    estimate = below = above = 0.0
    for w, (a, b, c, d) in zip(weights, group):
        (l1, u1), (l2, u2) = (proportion.proportion_confint(k, n, alpha, method="wilson") for k, n in ((a, a + b), (c, c + d)))
        p1, p2 = a / (a + b), c / (c + d)
        estimate += w * (p1 - p2)
        below += (w * (p1 - l1)) ** 2 + (w * (u2 - p2)) ** 2
        above += (w * (u1 - p1)) ** 2 + (w * (p2 - l2)) ** 2
    limits = [(estimate - math.sqrt(below), estimate + math.sqrt(above))]
    for t in [0.5, 1.0, 1.5, 2.0] if min(min(a + b, c + d) for a, b, c, d in group) < 20 else [1.0]:
        centre = variance = 0.0
        for w, (a, b, c, d) in zip(weights, group):
            (p1, n1), (p2, n2) = (((k + t) / (n + 2 * t), n + 2 * t) for k, n in ((a, a + b), (c, c + d)))
            centre += w * (p1 - p2)
            variance += w * w * (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
        limits.append((centre - z * math.sqrt(variance), centre + z * math.sqrt(variance)))
    return max(-1.0, min(l for l, _ in limits)), min(1.0, max(u for _, u in limits))


def exact_strata(group):
    """Two-sided p and the common odds ratio with limits, from the distribution of the sum of first cells in integers."""
    weights, observed, lowest = {0: 1}, 0, 0
    for a, b, c, d in group:
        n1, n2, m = a + b, c + d, a + c
        own = {k: math.comb(n1, k) * math.comb(n2, m - k) for k in range(max(0, m - n2), min(n1, m) + 1)}
        joined = {}
        for (i, x), (j, y) in itertools.product(weights.items(), own.items()):
            joined[i + j] = joined.get(i + j, 0) + x * y
        weights, observed = joined, observed + a
    total = sum(weights.values())
    p = Fraction(sum(w for w in weights.values() if w <= weights[observed]), total)
    def tail(log_psi, keep):
        terms = {k: mpmath.mpf(w) * mpmath.exp(k * log_psi) for k, w in weights.items()}
        return sum(t for k, t in terms.items() if keep(k)) / sum(terms.values())
    def mean(log_psi):
        terms = {k: mpmath.mpf(w) * mpmath.exp(k * log_psi) for k, w in weights.items()}
        return sum(k * t for k, t in terms.items()) / sum(terms.values())
    def solve(f):
        root = optimize.brentq(lambda x: float(f(mpmath.mpf(x))), -60, 60, xtol=1e-6)
        return float(mpmath.exp(mpmath.findroot(f, root)))
    low, high = min(weights), max(weights)
    half = mpmath.mpf("0.025")
    estimate = 0.0 if observed == low else None if observed == high else solve(lambda x: mean(x) - observed)
    lower = 0.0 if observed == low else solve(lambda x: tail(x, lambda k: k >= observed) - half)
    upper = None if observed == high else solve(lambda x: tail(x, lambda k: k <= observed) - half)
    return float(p), [estimate, lower, upper]


def strata():
    cases = []
    for group in strata_of_tables():
        estimate, variance = sato(group)
        lower, upper = hull(group, 0.05)
        case = {"strata": [[[a, b], [c, d]] for a, b, c, d in group], "rd": float(estimate), "rd_error": math.sqrt(max(variance, 0)),
                "rd_lower": lower, "rd_upper": upper, "equal": None, "exact_p": None, "exact_odds": None}
        if sum(a + b + c + d for a, b, c, d in group) < 1000:
            case["exact_p"], case["exact_odds"] = exact_strata(group)
        informative = [t for t in group if min(t[0] + t[2], t[1] + t[3]) > 0]
        agree, differ = (sum(Fraction(x[i] * x[j], sum(x)) for x in group) for i, j in ((0, 3), (1, 2)))
        # At a common odds ratio of exactly 1 statsmodels divides 0 by 0.
        if len(informative) > 1 and agree > 0 and differ > 0 and agree != differ:
            table = contingency_tables.StratifiedTable([np.array([[a, b], [c, d]], float) for a, b, c, d in informative])
            plain, tarone = table.test_equal_odds(), table.test_equal_odds(adjust=True)
            df = len(informative) - 1
            case["equal"] = [float(plain.statistic), chi2_ln_upper(plain.statistic, df), float(tarone.statistic), chi2_ln_upper(tarone.statistic, df)]
            case["log_odds_error"] = float(table.logodds_pooled_se)
        cases.append(case)
    return cases


def covering(k, n):
    if n < 25:
        return [0.0 if k == 0 else stats.beta.ppf(0.025, k, n - k + 1), 1.0 if k == n else stats.beta.ppf(0.975, k + 1, n - k)]
    lower, upper = proportion.proportion_confint(k, n, 0.05, method="wilson" if min(k, n - k) >= 6 else "agresti_coull")
    return [max(0.0, lower), min(1.0, upper)]


def proportions():
    cases = [(0, 1), (1, 1), (1, 2), (0, 10), (3, 24), (24, 24), (0, 25), (5, 25), (6, 25), (25, 30), (26, 30), (3, 100000), (499, 1000)]
    return [{"successes": k, "trials": n, "limits": list(map(float, covering(k, n)))} for k, n in cases]


def words():
    cases = []
    for y1, n1, y2, n2, alpha, total in [(0, 1, 1, 1, 0.5, 10), (0, 30, 30, 30, 1.0, 100), (9, 300, 3, 300, 0.2, 100), (108, 108, 100, 2000, 4.0, 50),
                                         (5, 100000, 50, 120000, 0.01, 500), (0, 200, 0, 300, 0.1, 10), (2, 2, 2, 2, 3.0, 4.0)]:
        y1m, y2m, a, a0 = (mpmath.mpf(v) for v in (y1, y2, alpha, total))
        delta = mpmath.log((y1m + a) / (n1 + a0 - y1m - a)) - mpmath.log((y2m + a) / (n2 + a0 - y2m - a))
        variance = sum(1 / v for v in (y1m + a, n1 + a0 - y1m - a, y2m + a, n2 + a0 - y2m - a))
        z = delta / mpmath.sqrt(variance)
        cases.append({"first": [y1, n1], "second": [y2, n2], "prior": [alpha, total], "delta": float(delta), "error": float(mpmath.sqrt(variance)),
                      "z": float(z), "p": float(mpmath.erfc(abs(z) / mpmath.sqrt(2)))})
    return cases


def power():
    normal, fisher = [], []
    for n1, n2, p1, p2, alpha in [(30, 30, 0.5, 0.8, 0.05), (100, 40, 0.2, 0.25, 0.05), (2000, 1500, 0.05, 0.02, 0.001), (108, 108, 0.3, 0.3, 0.05)]:
        result = proportion.power_proportions_2indep(p1 - p2, p2, nobs1=n1, ratio=n2 / n1, alpha=alpha, alternative="two-sided")
        normal.append({"proportions": [p1, p2], "trials": [n1, n2], "alpha": alpha, "power": float(result.power)})
    for n1, n2, p1, p2, alpha in [(1, 1, 0.2, 0.9, 0.05), (2, 2, 0.0, 1.0, 0.4), (6, 9, 0.1, 0.8, 0.05), (30, 30, 0.2, 0.5, 0.05), (25, 40, 0.03, 0.03, 0.05)]:
        found = 0.0
        for a in range(n1 + 1):
            for c in range(n2 + 1):
                p = 1.0 if a + c in (0, n1 + n2) else stats.fisher_exact([[a, n1 - a], [c, n2 - c]]).pvalue
                if p <= alpha:
                    found += stats.binom.pmf(a, n1, p1) * stats.binom.pmf(c, n2, p2)
        fisher.append({"proportions": [p1, p2], "trials": [n1, n2], "alpha": alpha, "power": float(found)})
    return {"normal": normal, "fisher": fisher}


def main():
    reference = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__, "mpmath": mpmath.__version__},
        "trends": trends(), "exact_trends": exact_trends(), "slopes": slopes(), "stratified_means": stratified_means(), "many_effects": many_effects(), "strata": strata(),
        "proportions": proportions(), "words": words(), "power": power(),
    }
    text = json.dumps(reference, allow_nan=False, separators=(",", ":"), default=float)
    TARGET.write_text(text.replace("},{", "},\n{").replace("],\"", "],\n\"") + "\n")


if __name__ == "__main__":
    main()
