"""Writes docs/reference/tables.md from the doc comments of the rows in glassbox-experiment.

    python3 docs/make_tables.py            # write the page
    python3 docs/make_tables.py --check    # fail if the page is out of date

Needs Python 3.9 and nothing else.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "crates/glassbox-experiment/src/tables.rs"
PAGE = ROOT / "docs/reference/tables.md"

# Where each table lies in a run directory, and the stage that writes it.
PLACES = {
    "prompts": ("prompts.parquet", "select"),
    "selection": ("selection.parquet", "select"),
    "plan": ("plan.parquet", "sweep"),
    "trials": ("trials/unit-NNNNNNN.parquet", "sweep"),
    "causal": ("causal.parquet", "causal"),
    "verdicts": ("verdicts.parquet", "causal"),
    "controls": (
        "controls.parquet; its parts in causal_checks.parquet, decision_checks.parquet, pathway_checks.parquet, word_checks.parquet",
        "words (the parts: causal, decision, pathways, words)",
    ),
    "replay_features": ("replays/wave-1/, replays/wave-2/, each unit-NNNNNNN.parquet", "pathways"),
    "features": (
        "features/wave-1/, features/wave-2/, each unit-NNNNNNN.parquet; only with pathways.record_tokens",
        "pathways",
    ),
    "pathways": ("pathways.parquet", "pathways"),
    "chains": ("chains.parquet", "pathways"),
    "words": ("words.parquet", "words"),
    "decision": ("decision.parquet; only with a `[decision]` section", "decision"),
    "decision_effects": ("decision_effects.parquet; only with a `[decision]` section", "decision"),
    "screen": (
        "screen.parquet, only with `select.rank_by = \"attribution\"`; else the file that `glassbox screen --out` names",
        "select",
    ),
    "patches": ("the file that `glassbox patch --out` names; no run directory", "none"),
}

TYPES = {
    "u32": "uint32",
    "u64": "uint64",
    "i64": "int64",
    "f32": "float32",
    "f64": "float64",
    "bool": "bool",
    "String": "text",
}

HEAD = """# Tables

<!-- Made by docs/make_tables.py from the doc comments in crates/glassbox-experiment/src/tables.rs. Edit those. -->

Every table is Parquet with Snappy compression. The description of a table and of each column is stored in the file:
`glassbox inspect FILE` shows it, and other readers find it in the key-value metadata (`glassbox.table`,
`glassbox.schema_version`, `glassbox.description`) and in the field metadata (`description`).

- A column marked *optional* may be null. Null means "undefined" or "does not apply", never zero. Float columns hold
  finite numbers only.
- A feature is the pair (`layer`, `feature`): the block, counted from 0, and the index in that block's dictionary. In text
  it is written `L25-10096`.
- A and B are the two prompt families in the order of the scenario file.
- Where two things are compared, `_1` is the reference and `_2` what is compared with it; an effect is *second minus
  first*.
- Values and activations are in the dictionary's own units; rates and shares lie between 0 and 1.

Formulas behind the columns: [formulas.md](formulas.md). Where the files lie: [run-directory.md](run-directory.md).
"""


def column_type(rust: str) -> str:
    if match := re.fullmatch(r"Option<(\w+)>", rust):
        return f"{TYPES[match[1]]}, optional"
    if match := re.fullmatch(r"Vec<(\w+)>", rust):
        return f"list of {TYPES[match[1]]}"
    return TYPES[rust]


def cell(text: str) -> str:
    return text.replace("[`", "`").replace("`]", "`").replace("|", "\\|")


def page() -> str:
    parts = [HEAD]
    source = SOURCE.read_text(encoding="utf-8")
    for body in re.findall(r"^table! \{\n(.*?)^\}", source, re.M | re.S):
        head, columns = re.split(r"pub struct \w+: ", body, maxsplit=1)
        name, version = re.match(r'"(\w+)", version (\d+)', columns).groups()
        about = " ".join(line.strip()[3:].strip() for line in head.splitlines() if line.strip().startswith("///"))
        file, stage = PLACES[name]
        parts.append(f"\n## {name}\n\n{about}\n\nFile: {file}. Stage: {stage}. Schema version {version}.\n")
        parts.append("\n| column | type | meaning |\n|---|---|---|\n")
        doc = []
        for line in columns.splitlines()[1:]:
            line = line.strip()
            if line.startswith("///"):
                doc.append(line[3:].strip())
            elif match := re.fullmatch(r"pub (\w+): (.+),", line):
                parts.append(f"| `{match[1]}` | {column_type(match[2])} | {cell(' '.join(doc))} |\n")
                doc = []
    return "".join(parts)


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is out of date: run python3 docs/make_tables.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
