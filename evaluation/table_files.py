"""A table as Markdown and as CSV."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from common.files import write_bytes


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Key of the value in a line, and head of the CSV file's column."""
    heading: str
    """Head of the Markdown column; empty to leave the column out there."""
    decimals: int | None = None
    """Digits behind the point; None for texts and whole numbers."""


def write_table(path: Path, columns: Sequence[Column], lines: Sequence[dict], title: str,
                notes: Sequence[str]) -> None:
    """Write ``path``.md and ``path``.csv.

    Args:
        path: Path without a suffix; its folder is made if need be.
        lines: sequence of dicts from a column's name to its value; what is missing stays empty.
        title: str, the Markdown heading.
        notes: sequence of str, paragraphs under the Markdown table.
    """
    shown = [column for column in columns if column.heading]
    rows = [[column.heading for column in shown], ["---"] * len(shown),
            *([_text(column, line) for column in shown] for line in lines)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    page = "\n\n".join([f"# {title}", table, *notes]) + "\n"
    write_bytes(path.with_suffix(".md"), page.encode("utf-8"))
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    writer.writerows([_text(column, line) for column in columns] for line in lines)
    write_bytes(path.with_suffix(".csv"), sheet.getvalue().encode("utf-8"))


def _text(column, line):
    value = line.get(column.name)
    if value is None:
        return ""
    return str(value) if column.decimals is None else f"{value:.{column.decimals}f}"
