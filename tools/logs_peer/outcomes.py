"""The rule language of parsers, on whole columns: each rule is one expression over the responses that are still open.

Expressions run in Arrow's RE2 kernels, those of the first line once per different first line. What the shipped parsers of the
benchmark do not use (`choose`, the last line as region) is refused.
"""
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN, STOP, BET = 0, 1, 2
LABELS = {"unknown": UNKNOWN, "stop": STOP, "bet": BET}


def expression(pattern):
    """A pattern of Rust's regex crate as RE2 and Python write it."""
    return pattern.replace("(?<amount>", "(?P<amount>")


class RuleParser:
    def __init__(self, path):
        spec = tomllib.loads(Path(path).read_text())["parser"]
        self.rules, self.default = spec["rules"], spec.get("default", {"outcome": "unknown"})
        for rule in self.rules:
            unknown = set(rule) - {"pattern", "outcome", "region", "amount", "amount_range", "clamp", "requires", "prompt", "valid"}
            if unknown or "last_line" in (rule.get("region"), rule.get("requires", {}).get("region")):
                raise SystemExit(f"{path}: {unknown or 'last_line'} is not handled here")

    def read(self, responses, prompts):
        """Outcome (a code), amount (NaN where there is none) and validity of every response."""
        size = len(responses)
        outcome = np.full(size, LABELS[self.default["outcome"]], np.int8)
        amount = np.full(size, self.default.get("amount", np.nan))
        valid = np.full(size, self.default.get("valid", False))
        regions = Regions(responses)
        is_open = np.ones(size, bool)
        for rule in self.rules:
            candidate = is_open & (prompts == rule["prompt"]) if "prompt" in rule else is_open.copy()
            if "requires" in rule:
                candidate &= regions.matches(rule["requires"], candidate)
            if "(?<amount>" in rule["pattern"]:
                found = regions.amounts(rule, candidate)
                low, high = rule.get("amount_range", (-np.inf, np.inf))
                hit = candidate & (found >= low) & (found <= high)
                if "clamp" in rule:
                    found = np.clip(found, *rule["clamp"])
            else:
                hit = candidate & regions.matches(rule, candidate)
                found = np.full(size, rule.get("amount", np.nan))
            outcome[hit] = LABELS[rule["outcome"]]
            amount[hit] = found[hit]
            valid[hit] = rule.get("valid", rule["outcome"] != "unknown")
            is_open &= ~hit
            if not is_open.any():
                break
        return outcome, amount, valid


class Regions:
    """The regions of responses, each cut once."""

    def __init__(self, responses):
        self.responses = responses
        self.lines = None
        self.cuts = {}

    def first_lines(self):
        """The first line that is not blank: code of every response, and the different ones."""
        if self.lines is None:
            found = pc.extract_regex(self.responses, r"^(?:[ \t\r\f\v]*\n)*(?P<line>[^\n]*)").field("line")
            self.lines = pd.factorize(found.to_numpy(zero_copy_only=False))
        return self.lines

    def matches(self, rule, candidate):
        """Which responses match; those outside `candidate` need not be looked at."""
        pattern, region = expression(rule["pattern"]), rule.get("region", "response")
        if region == "first_line":
            codes, lines = self.first_lines()
            return np.array([re.search(pattern, line) is not None for line in lines], bool)[codes]
        result = np.zeros(len(candidate), bool)
        texts, rows = self.texts(region, candidate)
        result[rows] = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
        return result

    def amounts(self, rule, candidate):
        """The amount of the first match; NaN where nothing matches."""
        result = np.full(len(candidate), np.nan)
        texts, rows = self.texts(rule.get("region", "response"), candidate)
        found = pc.extract_regex(texts, expression(rule["pattern"]))
        if found.null_count < len(found):
            codes, digits = pd.factorize(found.field("amount").filter(found.is_valid()).to_numpy(zero_copy_only=False))
            values = np.array([float(text.replace(",", "")) for text in digits])
            result[rows[found.is_valid().to_numpy(zero_copy_only=False)]] = values[codes]
        return result

    def texts(self, region, candidate):
        """Regions of the candidates, and their rows."""
        rows = np.flatnonzero(candidate)
        if region == "first_line":
            codes, lines = self.first_lines()
            return pa.array(lines[codes[rows]], pa.large_string()), rows
        if region == "response":
            return self.responses.take(pa.array(rows)), rows
        key = (region.get("before"), region.get("lines"))
        if key not in self.cuts:
            # Rules with one region follow one another: it is cut for the candidates of the first.
            self.cuts[key] = rows, cut(self.responses.take(pa.array(rows)), *key)
        known, texts = self.cuts[key]
        if len(known) == len(rows):
            return texts, rows
        return texts.take(pa.array(np.searchsorted(known, rows))), rows


def cut(texts, before, lines):
    """The texts up to a marker, and no more than so many lines of them that are not blank."""
    if before is not None:
        texts = pc.replace_substring_regex(texts, expression(before) + "(?s:.*)", "")
    if lines is not None:
        # With fewer line breaks there cannot be too many lines.
        long = np.flatnonzero(pc.count_substring(texts, "\n").to_numpy() >= lines)
        if len(long):
            every = texts.to_pylist()
            for row in long:
                every[row] = first_lines(every[row], lines)
            texts = pa.array(every, pa.large_string())
    return texts


def first_lines(text, lines):
    written = [found.end() for found in re.finditer(r"(?m)^.*\S.*$", text)]
    return text if len(written) <= lines else text[: written[lines - 1]]
