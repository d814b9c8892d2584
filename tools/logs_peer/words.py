"""Which words features add or remove: responses with a word, log odds with an informative Dirichlet prior, one family per
comparison; words against the outcome; the most characteristic words of every condition."""
import numpy as np

from families import benjamini_hochberg, storey_share
from log import ARMS, BASELINE, VALUE_A, VALUE_B
from tables import Z95, cochran_mantel_haenszel, fisher, pearson

ALPHA = 0.05
FEWEST = 5
PRIOR = 20.0
EXACT_BELOW = 0.2
TOP = 10
STUDY_NAMES = {
    ("value_b_vs_baseline", "safe"): "risky_feature",
    ("value_a_vs_baseline", "risky"): "safe_feature",
    ("value_a_vs_baseline", "safe"): "safe_amplification",
    ("value_b_vs_baseline", "risky"): "risky_amplification",
}


def words(log):
    names, responses, tokens = log.words()
    trials = log.grid("trials")
    background, everyone = responses.sum((0, 2), dtype=np.int64), trials.sum((0, 2))
    share = np.clip(background, 0.5, everyone[:, None] - 0.5) / everyone[:, None]
    comparisons, families, rows = [], [], []
    for name, first, second in (
        ("value_b_vs_value_a", VALUE_A, VALUE_B),
        ("value_a_vs_baseline", BASELINE, VALUE_A),
        ("value_b_vs_baseline", BASELINE, VALUE_B),
    ):
        table, comparison, family = compare(log, name, responses, trials, first, second, share, np.array(names, dtype=object))
        rows.append(table)
        comparisons.append(comparison)
        families.append(family)
    return {
        "responses": int(trials.sum()),
        "vocabulary": len(names),
        "comparisons": comparisons,
        "families": families,
        "rows": rows,
        "presence": presence(names, log.presence(names)),
        "views": views(log, names, responses, tokens, trials),
    }


def compare(log, name, responses, trials, first, second, share, names):
    def side(arm):
        """Responses with each word and all responses, [feature, prompt, word]; the baseline is pooled."""
        with_word, n = responses[:, :, arm], trials[:, :, arm, None]
        if arm == BASELINE:
            with_word, n = with_word.sum(0, keepdims=True, dtype=np.int64), n.sum(0, keepdims=True)
        return (np.broadcast_to(array, responses[:, :, 0].shape) for array in (with_word, n))

    (k1, n1), (k2, n2) = side(first), side(second)
    tested = (k1 + k2 >= FEWEST) & ((k1 < n1) | (k2 < n2))
    feature, prompt, word = np.nonzero(tested)
    k1, n1, k2, n2 = (array[tested].astype(np.int64) for array in (k1, n1, k2, n2))
    p = pearson(*(array.astype(np.float64) for array in (k2, n2, k1, n1)))
    exact = np.flatnonzero(p < EXACT_BELOW)
    p[exact] = fisher(k2[exact], n2[exact], k1[exact], n1[exact])
    q = benjamini_hochberg(p)
    # The smallest p of every feature and prompt, and all that stand out.
    group = feature * len(log.prompts) + prompt
    order = np.lexsort((word, p, group))
    begins = np.flatnonzero(np.diff(group[order], prepend=-1))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept = order[(place[order] < TOP) | (q[order] <= ALPHA)]
    feature, prompt, word, k1, n1, k2, n2 = (array[kept] for array in (feature, prompt, word, k1, n1, k2, n2))
    prior = PRIOR * share[prompt, word]
    a, b, c, d = k2 + prior, n2 - k2 + PRIOR - prior, k1 + prior, n1 - k1 + PRIOR - prior
    log_odds = np.log(a) + np.log(d) - np.log(b) - np.log(c)
    error = np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    layer, index = np.array(log.features)[feature].T
    prompts = np.array(log.prompts, dtype=object)[prompt]
    table = {
        "layer": layer, "feature": index, "prompt": prompts, "comparison": name,
        "study_name": np.array([STUDY_NAMES.get((name, prompt)) for prompt in log.prompts], dtype=object)[prompt],
        "word": names[word], "change": np.where(k2 / n2 >= k1 / n1, "added", "removed").astype(object),
        "n_1": n1, "n_2": n2, "responses_1": k1, "responses_2": k2,
        "log_odds": log_odds, "ci_low": log_odds - Z95 * error, "ci_high": log_odds + Z95 * error,
        "z": log_odds / error, "p": p[kept], "q": q[kept],
    }  # fmt: skip
    found = q[kept] <= ALPHA
    comparison = {
        "comparison": name,
        "tests": len(p),
        "found": int(found.sum()),
        "features": len(np.unique(feature[found])),
    }
    family = {"name": name, "tests": len(p), "pi0": storey_share(p), "smallest_p": p.min(initial=1), "smallest_q": q.min(initial=1)}
    return {"columns": table}, comparison, family


def presence(names, conditions):
    """Stops where a word is said and where it is not, within conditions."""
    known, events, word_known, word_events = (np.array(column) for column in zip(*conditions))
    with_word, without = word_known.T, known - word_known.T
    stops, others = word_events.T, events - word_events.T
    used = (with_word > 0) & (without > 0)
    with_word, without, stops, others = (np.where(used, array, 0) for array in (with_word, without, stops, others))
    kept = np.flatnonzero((with_word.sum(1) >= FEWEST) & (without.sum(1) >= FEWEST))
    with_word, without, stops, others = (array[kept].astype(np.float64) for array in (with_word, without, stops, others))
    z, p, odds, _ = cochran_mantel_haenszel(stops, with_word, others, without)
    p = np.where(np.isnan(z), 1.0, p)
    q = benjamini_hochberg(p)
    order = np.lexsort((kept, p))
    order = order[: max(TOP, int((q <= ALPHA).sum()))]
    columns = {
        "word": np.array(names, dtype=object)[kept],
        "present": with_word.sum(1).astype(int),
        "absent": without.sum(1).astype(int),
        "rate_present": stops.sum(1) / with_word.sum(1),
        "rate_absent": others.sum(1) / without.sum(1),
        "odds_ratio": odds[0],
        "odds_low": odds[1],
        "odds_high": odds[2],
        "p": p,
        "q": q,
    }
    return [{"columns": {name: values[order] for name, values in columns.items()}}]


def views(log, names, responses, tokens, trials):
    """The most frequent words of every condition, and those of the largest TF-IDF."""
    idf = np.log((1 + trials.sum()) / (1 + responses.sum((0, 1, 2), dtype=np.int64))) + 1
    result = []
    for prompt, name in enumerate(log.prompts):
        for arm, arm_name in enumerate(ARMS):
            with_word = responses[:, prompt, arm].sum(0, dtype=np.int64)
            said, n = tokens[:, prompt, arm].sum(0, dtype=np.int64), int(trials[:, prompt, arm].sum())
            frequency = said / said.sum()
            orders = {
                "by_responses": np.argsort(-with_word, kind="stable")[:TOP],
                "by_tf_idf": np.argsort(-frequency * idf, kind="stable")[:TOP],
            }
            view = {"prompt": name, "arm": arm_name, "responses": n}
            for key, order in orders.items():
                view[key] = [
                    {
                        "word": names[word],
                        "responses": int(with_word[word]),
                        "response_share": with_word[word] / n,
                        "frequency": frequency[word],
                        "tf_idf": frequency[word] * idf[word],
                    }
                    for word in order
                ]
            result.append(view)
    return result
