"""All files of a log put together: figures as arrays [feature, prompt, arm]."""
import numpy as np
import pandas as pd

ARMS = ("baseline", "value_a", "value_b")
BASELINE, VALUE_A, VALUE_B = range(3)


class Log:
    def __init__(self, files):
        self.listed = [feature for file in files for feature in file.get("listed", [])]
        files = [file for file in files if "feature" in file]
        self.unusable = sum(file["unusable"] for file in files)
        self.files = files
        features = [feature for file in files for feature in file["feature"]]
        prompts = [prompt for file in files for prompt, _ in file["condition"]]
        arms = [arm for file in files for _, arm in file["condition"]]
        self.features = sorted(set(features))
        self.prompts = sorted(set(prompts))
        number = {feature: index for index, feature in enumerate(self.features)}
        self.feature = np.array([number[feature] for feature in features])
        self.place = (
            self.feature,
            np.array([self.prompts.index(prompt) for prompt in prompts]),
            np.array([ARMS.index(arm) for arm in arms]),
        )
        self.shape = (len(self.features), len(self.prompts), len(ARMS))
        cells = np.ravel_multi_index(self.place, self.shape)
        if len(np.unique(cells)) < len(cells) or len(cells) < np.prod(self.shape):
            raise SystemExit("a cell is in two files, or missing: this program wants every cell in one file")

    def grid(self, name):
        """A figure of every cell, [feature, prompt, arm]."""
        values = np.concatenate([file[name] for file in self.files])
        grid = np.zeros(self.shape, values.dtype)
        grid[self.place] = values
        return grid

    def total(self, name):
        return sum(file[name] for file in self.files)

    def words(self):
        """All words in order, and their figures by cell: [feature, prompt, arm, word]."""
        words = sorted(set().union(*(file["words"] for file in self.files)))
        index = pd.Index(words, dtype=object)
        grids = {name: np.zeros((*self.shape, len(words)), np.int32) for name in ("word_responses", "word_tokens")}
        begin = 0
        for file in self.files:
            end = begin + len(file["rows"])
            columns = index.get_indexer(pd.Index(file["words"], dtype=object))
            feature, prompt, arm = (axis[begin:end, None] for axis in self.place)
            for name, grid in grids.items():
                grid[feature, prompt, arm, columns] = file[name]
            begin = end
        return words, grids["word_responses"], grids["word_tokens"]

    def presence(self, words):
        """By condition: trials of which the outcome is known, those with it, and both of the trials with each word."""
        index = pd.Index(words, dtype=object)
        sums = {}
        for file in self.files:
            columns, own = index.get_indexer(pd.Index(file["words"], dtype=object)), file["presence"]
            for number, name in enumerate(own["names"]):
                known, events, word_known, word_events = sums.setdefault(
                    name, [0, 0, np.zeros(len(words), np.int64), np.zeros(len(words), np.int64)]
                )
                word_known[columns] += own["word_known"][number]
                word_events[columns] += own["word_events"][number]
                sums[name][0], sums[name][1] = known + own["known"][number], events + own["events"][number]
        return [sums[name] for name in sorted(sums)]
