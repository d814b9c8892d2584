"""One file of a log: decoded, checked, and counted by cell. What workers do; everything after it is small.

Columns are NumPy, pandas and Arrow arrays, and no step after the decoding goes row by row. There are two styles, see `peer.py`.
"""
import re
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from outcomes import BET, STOP, UNKNOWN, RuleParser
from word_tokens import count_words, tokens_by_bytes, tokens_by_expression

ECHO = (
    r"(?m)^[ \t]*(?:Slot Machine Game|Game history:|Current balance:|Current round:|Choose:|Choice:|Win rate:|Win pays )"
)
ARMS = {"_baseline": "baseline", "_with_safe_patch": "value_a", "_with_risky_patch": "value_b"}


class Parsed(msgspec.Struct, gc=False):
    action: str
    bet: float
    valid: bool


class Row(msgspec.Struct, gc=False):
    feature: str
    condition: str
    trial: int
    response: str
    parsed: Parsed


class Means(msgspec.Struct, gc=False):
    feature_means: dict[str, dict[str, float]]


ROWS, MEANS = msgspec.json.Decoder(list[Row]), msgspec.json.Decoder(Means)


def tuned_columns(text):
    """The columns of a file, and how many rows cannot be used. Decoded into typed structures (msgspec), which checks keys and types
    on the way and makes nothing of what is not asked for, such as the second copy of the response."""
    unusable = 0
    try:
        rows = ROWS.decode(text)
    except msgspec.ValidationError:
        rows = []
        for row in msgspec.json.decode(text, type=list[msgspec.Raw]):
            try:
                rows.append(msgspec.json.decode(row, type=Row))
            except msgspec.ValidationError:
                unusable += 1
    columns = (
        np.array([row.feature for row in rows], dtype=object),
        np.array([row.condition for row in rows], dtype=object),
        np.fromiter((row.trial for row in rows), np.int64, len(rows)),
        [row.response for row in rows],
    )
    return *columns, unusable


def plain_columns(text):
    """The same, decoded by orjson into a data frame and checked column by column."""
    frame = pd.DataFrame(orjson.loads(text))
    parsed = pd.DataFrame(frame["parsed"].tolist())
    usable = ~frame[["feature", "condition", "trial", "response"]].isna().any(axis=1)
    usable &= parsed["action"].notna() & pd.to_numeric(parsed["bet"], errors="coerce").notna() & parsed["valid"].isin([True, False])
    usable &= pd.to_numeric(frame["trial"], errors="coerce").notna()
    frame = frame[usable]
    columns = (
        frame["feature"].to_numpy(dtype=object),
        frame["condition"].to_numpy(dtype=object),
        frame["trial"].to_numpy(dtype=np.int64),
        frame["response"].tolist(),
    )
    return *columns, int((~usable).sum())


def feature_of(name):
    """(layer, index) of a name such as L9-456."""
    found = re.fullmatch(r"L(\d+)-(\d+)", name)
    if not found:
        raise SystemExit(f"{name!r} is no feature")
    return int(found[1]), int(found[2])


def condition_of(name):
    """(prompt, arm) of a condition's name."""
    for suffix, arm in ARMS.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix), arm
    raise SystemExit(f"{name!r} is no condition of the study")


class FileReader:
    """Reads one file after the other, for the parts of the work that were asked for."""

    def __init__(self, parser, work, style):
        self.parser, self.work = RuleParser(parser), work
        self.columns = tuned_columns if style == "tuned" else plain_columns
        self.tokens = tokens_by_bytes if style == "tuned" else tokens_by_expression

    def read(self, path):
        text = Path(path).read_bytes()
        if text.lstrip()[:1] == b"{":
            return {"listed": [feature_of(name) for name in MEANS.decode(text).feature_means]}
        *columns, unusable = self.columns(text)
        del text
        return self.count(*columns) | {"unusable": unusable}

    def count(self, feature, condition, trial, texts):
        """Figures by cell. A cell is a feature under a condition; rows of a trial after its first do not count."""
        feature, features = pd.factorize(feature)
        condition, conditions = pd.factorize(condition)
        cell, cells = pd.factorize(feature * len(conditions) + condition)
        cell_feature, cell_condition = np.divmod(cells, len(conditions))
        prompts = [condition_of(name)[0] for name in conditions]
        repeated = pd.Series(cell * (np.int64(1) << 32) + trial).duplicated().to_numpy()
        kept = ~repeated
        responses = pa.array(texts, pa.large_string())
        outcome, amount, valid = self.parser.read(responses, np.array(prompts, dtype=object)[condition])
        size = len(cells)

        def per_cell(mask):
            return np.bincount(cell[kept & mask], minlength=size)

        everything = np.ones(len(cell), bool)
        has_amount = (outcome == BET) & (amount > 0)
        of_amount, of_cell = amount[kept & has_amount], cell[kept & has_amount]
        counted = np.bincount(of_cell, minlength=size)
        mean = np.bincount(of_cell, of_amount, size) / np.maximum(counted, 1)
        figures = {
            "feature": [feature_of(name) for name in features[cell_feature]],
            "condition": [condition_of(name) for name in conditions[cell_condition]],
            "rows": np.bincount(cell, minlength=size),
            "trials": per_cell(everything),
            "stop": per_cell(outcome == STOP),
            "bet": per_cell(outcome == BET),
            "unknown": per_cell(outcome == UNKNOWN),
            "amounts": counted,
            "amount_mean": mean,
            "amount_squares": np.bincount(of_cell, (of_amount - mean[of_cell]) ** 2, size),
        }
        if "audit" in self.work:
            figures |= self.audit(texts, responses, cell, trial, kept, per_cell)
            figures["valid"] = per_cell(valid)
            figures["amount_counts"] = amount_counts(np.array(prompts)[cell_condition][of_cell], of_amount)
        if "words" in self.work:
            names = ["/".join(condition_of(name)) for name in conditions]
            known, event = (outcome != UNKNOWN)[kept], (outcome == STOP)[kept]
            kept_texts = texts if kept.all() else [text for text, keep in zip(texts, kept) if keep]
            figures |= count_words(self.tokens(kept_texts), cell[kept], size, condition[kept], names, known, event)
        return figures

    def audit(self, texts, responses, cell, trial, kept, per_cell):
        """Repeats with the same text, different texts of a cell, empty and echoing responses."""
        hashes = pd.util.hash_array(np.array(texts, dtype=object), categorize=False)
        order = np.lexsort((np.arange(len(cell)), trial, cell))
        same = (np.diff(cell[order]) == 0) & (np.diff(trial[order]) == 0)
        copies = same & (hashes[order][1:] == hashes[order][:-1])
        different = ~pd.DataFrame({"cell": cell[kept], "text": hashes[kept]}).duplicated().to_numpy()
        return {
            "same_text": int(copies.sum()),
            "texts": np.bincount(cell[kept][different], minlength=cell.max() + 1),
            "empty": per_cell(~pc.match_substring_regex(responses, r"\S").to_numpy(zero_copy_only=False)),
            "echo": per_cell(pc.match_substring_regex(responses, ECHO).to_numpy(zero_copy_only=False)),
        }


def amount_counts(prompts, amounts):
    """How often each amount was bet on each kind of prompt."""
    table = pd.DataFrame({"prompt": prompts, "amount": amounts})
    return table.value_counts().to_dict()
