"""Statistics of many 2×2 tables at once: arrays in, arrays out.

A stratum's table is (k1, n1, k2, n2): successes and trials of the second arm and of the first. Arrays are [tests] or
[tests, strata]; the formulas and their sources are those of docs/reference/formulas.md.
"""
import numpy as np
import pandas as pd
from scipy import special, stats

Z95 = special.ndtri(0.975)
CHUNK = 20_000


def two_sided(z):
    return special.erfc(np.abs(z) / np.sqrt(2))


def wilson(k, n):
    p = k / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0.0))
    return low, np.where(k == n, 1.0, np.minimum(centre + half, 1.0))


def risk_difference(k1, n1, k2, n2):
    """Second minus first arm within strata (Mantel–Haenszel weights), Sato's standard error, and the hull of Newcombe's and of
    Agresti and Caffo's intervals. All strata have trials in both arms."""
    n = n1 + n2
    weight = n1 * (n2 / n)
    total = weight.sum(1, keepdims=True)
    share = weight / total
    p1, p2 = k1 / n1, k2 / n2
    estimate = (share * (p1 - p2)).sum(1)
    p_sum = ((n1 / n) ** 2 * k2 - (n2 / n) ** 2 * k1 + 0.5 * (n1 / n) * (n2 / n) * (n2 - n1)).sum(1)
    q_sum = ((k1 * ((n2 - k2) / n) + k2 * ((n1 - k1) / n)) / 2).sum(1)
    error = np.sqrt(np.maximum(estimate * p_sum + q_sum, 0) / total[:, 0] ** 2)
    (low1, high1), (low2, high2) = wilson(k1, n1), wilson(k2, n2)
    lower = estimate - np.sqrt((share**2 * ((p1 - low1) ** 2 + (high2 - p2) ** 2)).sum(1))
    upper = estimate + np.sqrt((share**2 * ((high1 - p1) ** 2 + (p2 - low2) ** 2)).sum(1))
    fewest = np.minimum(n1, n2).min(1)
    for added in (0.5, 1.0, 1.5, 2.0):
        used = (fewest < 20) | (added == 1.0)
        a1, a2 = (k1 + added) / (n1 + 2 * added), (k2 + added) / (n2 + 2 * added)
        centre = (share * (a1 - a2)).sum(1)
        spread = share**2 * (a1 * (1 - a1) / (n1 + 2 * added) + a2 * (1 - a2) / (n2 + 2 * added))
        half = Z95 * np.sqrt(spread.sum(1))
        lower = np.where(used, np.minimum(lower, centre - half), lower)
        upper = np.where(used, np.maximum(upper, centre + half), upper)
    return estimate, error, np.maximum(lower, -1.0), np.minimum(upper, 1.0)


def cochran_mantel_haenszel(k1, n1, k2, n2):
    """z, p, the common odds ratio with the interval of Robins, Breslow and Greenland, and the test's name."""
    a, b, c, d = k1, n1 - k1, k2, n2 - k2
    n = np.maximum(a + b + c + d, 1)
    informative = ((a + b) > 0) & ((c + d) > 0) & ((a + c) > 0) & ((b + d) > 0)
    expected = (a + b) * ((a + c) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (a + b) / n * ((c + d) / n) * (a + c) * ((b + d) / (n - 1.0))
        deviation = np.where(informative, a - expected, 0).sum(1)
        variance = np.where(informative, variance, 0).sum(1)
        room_below = np.where(informative, expected - np.maximum(a - d, 0), 0).sum(1)
        room_above = np.where(informative, np.minimum(a + b, a + c) - expected, 0).sum(1)
        z = deviation / np.sqrt(variance)
        p = two_sided(z)
        r, s = (a * (d / n)).sum(1), (b * (c / n)).sum(1)
        agree, differ = (a + d) / n, (b + c) / n
        spread = (agree * a * (d / n)).sum(1) / (2 * r * r)
        spread += ((agree * b * (c / n)).sum(1) + (differ * a * (d / n)).sum(1)) / (2 * r * s)
        spread += (differ * b * (c / n)).sum(1) / (2 * s * s)
        half = Z95 * np.sqrt(spread)
        odds = np.stack([r / s, np.exp(np.log(r / s) - half), np.exp(np.log(r / s) + half)])
    odds[:, (r == 0) | (s == 0)] = np.nan
    exact = (variance > 0) & (np.minimum(room_below, room_above) < 5)
    for row in np.flatnonzero(exact):
        p[row] = exact_stratified(k1[row], n1[row], k2[row], n2[row])
        # Conditional maximum likelihood; glassbox's limits are exact, these are not made here.
        odds[:, row] = np.nan
    test = np.where(exact, "exact", "cochran_mantel_haenszel").astype(object)
    test[variance == 0] = None
    return z, p, odds, test


def exact_stratified(k1, n1, k2, n2):
    """p of the exact conditional test over strata: no more probable sums of first cells."""
    pmf, observed = np.ones(1), 0
    for a, n, b, m in zip(k1, n1, k2, n2):
        low, high = max(0, a + b - m), min(n, a + b)
        pmf = np.convolve(pmf, stats.hypergeom.pmf(np.arange(low, high + 1), n + m, n, a + b))
        observed += a - low
    return min(1.0, pmf[pmf <= pmf[int(observed)] * (1 + 1e-7)].sum())


def different(*columns):
    """Different rows of some whole-number columns: their index among all, and the code of every row."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        key = key * (int(column.max(initial=0)) + 1) + column
    codes, keys = pd.factorize(key)
    first = np.empty(len(keys), np.int64)
    first[codes[::-1]] = np.arange(len(key))[::-1]
    return first, codes


def pearson(k1, n1, k2, n2):
    """p of Pearson's χ² test without continuity correction; 1 without information."""
    n = n1 + n2
    a, b, c, d = k1, n1 - k1, k2, n2 - k2
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.abs(a * (d / n) - b * (c / n))
        statistic = sum(deviation * (deviation / (row * (column / n))) for row in (n1, n2) for column in (a + c, b + d))
    return np.where((a + c == 0) | (b + d == 0), 1.0, special.chdtrc(1, statistic))


def fisher(k1, n1, k2, n2):
    """Two-sided p of Fisher's test, of many tables: the hypergeometric distribution of each different one is a row of a matrix,
    built by the ratio of neighbouring terms."""
    first, codes = different(k1, n1, k2, n2)
    k1, n1, k2, n2 = (column[first].astype(np.float64) for column in (k1, n1, k2, n2))
    p = np.empty(len(first))
    order = np.argsort(np.minimum(n1, k1 + k2), kind="stable")
    for rows in np.array_split(order, len(order) // CHUNK + 1):
        if not len(rows):
            continue
        draws, marked, unmarked = (k1 + k2)[rows, None], n1[rows, None], n2[rows, None]
        low, high = np.maximum(0, draws - unmarked), np.minimum(marked, draws)
        k = low + np.arange(int((high - low).max()) + 1)
        inside = k <= high
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log((marked - k) * (draws - k)) - np.log((k + 1) * (unmarked - draws + k + 1))
        ratio = np.where(k < high, ratio, 0.0)
        weight = np.cumsum(np.concatenate([np.zeros((len(rows), 1)), ratio[:, :-1]], axis=1), axis=1)
        weight = np.where(inside, weight, -np.inf)
        weight -= weight.max(1, keepdims=True)
        pmf = np.exp(weight)
        at = (k1[rows] - low[:, 0]).astype(np.int64)[:, None]
        limit = np.take_along_axis(weight, at, 1) + np.log1p(1e-7)
        p[rows] = np.minimum(1.0, np.where(weight <= limit, pmf, 0).sum(1) / pmf.sum(1))
    return p[codes]


def proportion_interval(k, n):
    """Wilson's interval, Agresti and Coull's with fewer than six successes or failures, exact limits below 25 trials."""
    low, high = wilson(k, n)
    centre = (k + 0.5 * Z95**2) / (n + Z95**2)
    half = np.sqrt(Z95**2 * centre * (1 - centre) / (n + Z95**2))
    few = np.minimum(k, n - k) < 6
    low, high = np.where(few, np.maximum(centre - half, 0), low), np.where(few, np.minimum(centre + half, 1), high)
    exact = stats.beta.ppf(0.025, k, n - k + 1), stats.beta.ppf(0.975, k + 1, n - k)
    low = np.where(n < 25, np.where(k == 0, 0.0, exact[0]), low)
    return low, np.where(n < 25, np.where(k == n, 1.0, exact[1]), high)


def detectable_difference(n1, n2, baseline, alpha=0.05, power=0.8):
    """Smallest change from the first arm's rate that a single test finds, in the easier direction (Fleiss's formula)."""
    critical = special.ndtri(1 - 0.5 * alpha)

    def excess(difference, sign):
        p2 = np.clip(baseline + sign * difference, 0, 1)
        pooled = (n1 * baseline + n2 * p2) / (n1 + n2)
        null = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        alternative = np.sqrt(baseline * (1 - baseline) / n1 + p2 * (1 - p2) / n2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return special.ndtr((np.abs(p2 - baseline) - critical * null) / alternative) - power

    found = []
    for sign, room in ((1, 1 - baseline), (-1, baseline)):
        low, high = np.zeros_like(baseline), room.copy()
        reachable = (room > 0) & (excess(room, sign) >= 0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            enough = excess(middle, sign) >= 0
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        found.append(np.where(reachable, 0.5 * (low + high), np.nan))
    return np.fmin(*found)
