"""The work of `glassbox audit`, `causal` and `words` on response logs, in pandas, NumPy and SciPy.

    python peer.py LOGS --parser PARSER.toml --work audit causal words --processes 2 --style plain --out result.json

Files are counted in worker processes; outcomes are read by regular expressions over whole columns (Arrow's RE2 kernels, which
pandas' own strings use); every test is made for all features at once, Fisher's for each different table once. Asked for
several parts of the work it reads the log once for all. The two styles differ in how rows and words are read, where the time goes:

- plain, as a good user of pandas writes it: orjson, data frames, a compiled regular expression over every response, `factorize`;
- tuned, as one would who writes for speed alone: msgspec straight into typed structures, words found on the bytes of a whole file
  with NumPy and Arrow.

It does what the three verbs do on such logs: schema checks; rows, trials, repeats, planned numbers, texts that are empty,
echoing or identical, outcomes and amounts by condition, by layer, the join with the list of features; contrasts of the stop rate and
the amount within prompts (risk difference, odds ratio, Cohen's d, intervals, Cochran–Mantel–Haenszel or exact test, t with
Satterthwaite's degrees of freedom, detectable difference), their families (Benjamini–Hochberg, Benjamini–Yekutieli, Storey) and
spread; words counted once per response, log odds with a Dirichlet prior, Fisher's test, q values, words against the outcome,
frequency and TF-IDF. It computes the same numbers, which `cargo xtask bench-logs` checks.

It does not do what would slow it down and these logs do not need: other layouts than the study's response logs, compressed files
and Parquet, a damaged file read as far as it goes, constant memory (a file is decoded as a whole), retries, doses, controls, cells
that are in several files (it refuses), exact limits of odds ratios at low counts, verdicts, sentences and a page.
"""
import argparse
import gc
import multiprocessing
import time
from pathlib import Path

import numpy as np
import orjson

from audit import audit
from causal import causal
from log import Log
from log_file import FileReader
from words import words

WORK = {"audit": audit, "causal": causal, "words": words}


def plain(value):
    """What orjson cannot write by itself."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value))


def start(parser, work, style):
    # Rows are made and dropped by the million; they hold no cycles.
    gc.disable()
    global READER
    READER = FileReader(parser, work, style)


def read(path):
    return READER.read(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("logs", type=Path)
    arguments.add_argument("--parser", type=Path, required=True)
    arguments.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--style", choices=["plain", "tuned"], default="tuned")
    arguments.add_argument("--out", type=Path, required=True)
    arguments = arguments.parse_args()
    # Imports are not timed: a notebook has made them.
    begin = time.perf_counter()
    seconds = {}
    paths = sorted(path for path in arguments.logs.rglob("*") if path.suffix in (".json", ".jsonl"))
    with multiprocessing.Pool(arguments.processes, start, (arguments.parser, arguments.work, arguments.style)) as pool:
        files = pool.map(read, paths, chunksize=1)
    log = Log(files)
    seconds["read"] = time.perf_counter() - begin
    result = {}
    for name in arguments.work:
        since = time.perf_counter()
        result[name] = WORK[name](log)
        seconds[name] = time.perf_counter() - since
    arguments.out.write_bytes(orjson.dumps(result, default=plain, option=orjson.OPT_SERIALIZE_NUMPY))
    seconds["all"] = time.perf_counter() - begin
    print(orjson.dumps({"seconds": seconds}).decode())


if __name__ == "__main__":
    main()
