"""Runs all measurements one after another and keeps the rows of each as soon as it is done."""

import dataclasses
import importlib
import json

from benchmarks.rows import not_measured
from common.files import read_json, write_bytes, write_json

MEASUREMENTS = {  # name: (module, function)
    "start": ("benchmarks.commands", "startup"),
    "bc": ("benchmarks.mask_rows", "classifier"),
    "masks": ("benchmarks.mask_rows", "masks"),
    "loader": ("benchmarks.training_rows", "loader"),
    "ct": ("benchmarks.training_rows", "epochs"),
    "evaluate": ("benchmarks.training_rows", "evaluation"),
    "localize": ("benchmarks.localize_rows", "localizing"),
    "boxes": ("benchmarks.box_rule_rows", "wsol_rule"),
    "sharpening": ("benchmarks.scale_rows", "sharpening"),
    "listing": ("benchmarks.scale_rows", "listing"),
    "parts": ("benchmarks.scale_rows", "parts"),
    "peers": ("benchmarks.peers", "peers"),
    "growth": ("benchmarks.commands", "growth"),
}


def run_benchmarks(setting, names, results, notify):
    """Run measurements and keep their rows.

    Args:
        setting: BenchmarkSetting.
        names: list of keys of ``MEASUREMENTS``.
        results: path of the JSON list of rows. Rows of other measurements stay in it; those of a
            measurement that was finished with the same setting are not measured again.
        notify: called with a line of text about progress.

    A measurement that fails leaves a row with the reason and is tried again the next time.

    Returns:
        list of dicts, the fields of each BenchmarkRow.
    """
    state = results.with_suffix(".state.json")  # what was measured with which setting
    kept = read_json(state) if state.is_file() else {}
    wanted = json.loads(json.dumps(setting.identity()))
    for name in names:
        if kept.get(name, {}).get("setting") == wanted:
            notify(f"{name}: measured before, kept")
            continue
        notify(f"{name} ...")
        module, function = MEASUREMENTS[name]
        try:
            rows = getattr(importlib.import_module(module), function)(setting)
            finished = wanted
        except Exception as error:  # one failure must not cost later rows
            rows, finished = [not_measured(name, None, f"{type(error).__name__}: {error}")], None
            notify(f"{name}: {rows[0].note}")
        kept[name] = {"setting": finished, "rows": [dataclasses.asdict(row) for row in rows]}
        write_json(state, kept)
        lines = [row for one in MEASUREMENTS if one in kept for row in kept[one]["rows"]]
        write_json(results, lines)
        write_bytes(results.with_suffix(".md"), markdown(lines).encode())
    return [row for name in names for row in kept[name]["rows"]]


def benchmark_table(rows):
    """Rows as lines of text."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  ratio  [low, high]         target        holds"]
    for row in rows:
        lines.append(f"{row['name']:{width}}  {_ratio(row):25}  {row['target'] or 'reported':12}  "
                     f"{_holds(row)}")
    return "\n".join(lines)


def markdown(rows):
    """Rows as a table in Markdown, and the machine under it."""
    lines = ["| what | ratio [low, high] | target | holds | measured on |", "|---|---|---|---|---|"]
    lines += [f"| {row['name']} | {_ratio(row)} | {row['target'] or 'reported'} | {_holds(row)} | "
              f"{row['note']} |" for row in rows]
    return "\n".join([*lines, "", *sorted({row["machine"] for row in rows}), ""])


def _ratio(row):
    if row["ratio"] is None:
        return row["note"].split(":")[0]
    return f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _holds(row):
    return {True: "yes", False: "NO", None: ""}[row["holds"]]
