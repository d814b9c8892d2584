"""Words by the study's pattern `\\$?\\d+|\\b[a-zA-Z]+\\b`: in the plain style by the expression itself, in the tuned one on the bytes of all
responses of a file at once.
"""
import re

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

PATTERN = re.compile(r"\$?\d+|\b[a-zA-Z]+\b")
OTHER, LETTER, DIGIT, UNDERSCORE, DOLLAR = range(5)
KINDS = np.zeros(256, np.uint8)
KINDS[[*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1)]] = LETTER
KINDS[[*range(ord("0"), ord("9") + 1)]] = DIGIT
KINDS[ord("_")], KINDS[ord("$")] = UNDERSCORE, DOLLAR


def tokens_by_expression(texts):
    """Codes of all words of all texts one after another, where each text's begin (and the last one's end), and the words."""
    found = [PATTERN.findall(text.lower()) for text in texts]
    codes, words = pd.factorize(np.array([word for words in found for word in words], dtype=object))
    return codes, np.concatenate([[0], np.cumsum([len(words) for words in found])]), words


def tokens_by_bytes(texts):
    """The same. Runs of letters and of digits are found by comparing neighbouring bytes; the words become codes in Arrow's dictionary
    encoding. Texts with other than ASCII characters go through the expression."""
    blob = "\0".join(texts).lower()
    if not blob.isascii():
        return tokens_by_expression(texts)
    data = np.frombuffer(blob.encode(), np.uint8)
    ends_of_text = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    kinds = KINDS[data]
    edges = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(data)]])
    kind = np.concatenate([[OTHER], kinds[starts], [OTHER]])
    before, own, after = kind[:-2], kind[1:-1], kind[2:]
    inside = np.isin(np.arange(5), [LETTER, DIGIT, UNDERSCORE])
    is_number = own == DIGIT
    is_word = is_number | ((own == LETTER) & ~inside[before] & ~inside[after])
    starts = (starts - (is_number & (before == DOLLAR)))[is_word]
    ends = ends[is_word]
    # The bytes of the words alone, one after another, are an Arrow array of strings.
    border = np.zeros(len(data) + 1, np.int8)
    border[starts] += 1
    border[ends] -= 1
    letters = data[np.cumsum(border[:-1], dtype=np.int8).view(bool)]
    offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int32)
    strings = pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(letters))
    encoded = strings.dictionary_encode()
    bounds = np.concatenate([[0], np.searchsorted(starts, ends_of_text)])
    return encoded.indices.to_numpy(), bounds, encoded.dictionary.to_numpy(zero_copy_only=False)


def count_words(tokens, cell, cells, condition, names, known, event):
    """Responses with each word and how often it is said, by cell; responses with it, and those of them with the outcome, by
    condition. A word counts once per response."""
    codes, bounds, words = tokens
    texts, size = len(bounds) - 1, len(words)
    # Equal words of a response are put together: the rows of a sparse matrix.
    said = sparse.csr_array((np.ones(len(codes), np.int32), codes, bounds), shape=(texts, size))
    said.sum_duplicates()
    row = np.repeat(np.arange(texts), np.diff(said.indptr))

    def by(group, groups, mask=None, weights=None):
        key = group[row] * np.int64(size) + said.indices
        if mask is not None:
            key = key[mask[row]]
        return np.bincount(key, weights, groups * size).reshape(groups, size).astype(np.int64)

    conditions = len(names)
    return {
        "words": words,
        "word_responses": by(cell, cells),
        "word_tokens": by(cell, cells, weights=said.data),
        "presence": {
            "names": names,
            "known": np.bincount(condition[known], minlength=conditions),
            "events": np.bincount(condition[event], minlength=conditions),
            "word_known": by(condition, conditions, known),
            "word_events": by(condition, conditions, event),
        },
    }
