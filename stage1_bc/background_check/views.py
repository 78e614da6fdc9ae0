"""The findings of a check of background images as text, and as tiles of a contact sheet."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.datasets import Record
from common.mask_cache.contact_sheet import Section, short_name, tile
from stage1_bc.background_check.examination import Examination

LISTED = 20  # findings per kind in the text; the report holds all of them
SHOWN = 24  # pictures per kind on the contact sheet


def report_lines(report: dict) -> list[str]:
    """A report of ``background_report`` as lines of text."""
    counts, enlarged = report["pictures"], report["enlarged"]
    return [
        f"{counts['backgrounds']:,} readable backgrounds, compared with {counts['targets']:,} "
        f"targets and {counts['other_images']:,} other images of the data set",
        *_file_lines(report),
        *_listed("seem to hold a target, most certain first, by classifiers that were not trained "
                 "on them", [f"{one['image_id']!r}: logit {one['logit']:+.1f}"
                             for one in report["believed_targets"]]),
        f"targets that seem to be backgrounds: {len(report['believed_backgrounds']):,} of "
        f"{counts['targets']:,}",
        *(one["sentence"] for one in report["comparisons"]),
        f"enlarged to the frame of {enlarged['frame']} pixels: {enlarged['backgrounds']:,}"
        f" of {counts['backgrounds']:,} backgrounds, {enlarged['targets']:,} of "
        f"{counts['targets']:,} targets"]


def _file_lines(report: dict) -> list[str]:
    """What is wrong with the files themselves."""
    lines = _listed("unreadable", [f"{name!r}: {reason}"
                                   for name, reason in report["unreadable"].items()])
    if report["unreadable_in_data_set"]:
        lines.append(f"unreadable in the data set: {len(report['unreadable_in_data_set']):,}")
    for heading, key in (("exact duplicates", "same_bytes"), ("look-alikes", "look_alikes"),
                         ("also in the data set", "same_bytes_in_data_set"),
                         ("look like an image of the data set", "look_alikes_in_data_set")):
        describe = _pair_line if key.startswith("look_alikes") else _group_line
        lines += _listed(heading, [describe(one) for one in report[key]])
    return lines


def _listed(heading: str, entries: list[str]) -> list[str]:
    lines = [f"{heading}: {len(entries):,}"] + [f"  {entry}" for entry in entries[:LISTED]]
    if len(entries) > LISTED:
        lines.append(f"  ... and {len(entries) - LISTED:,} more in report.json")
    return lines


def _group_line(group: list[str]) -> str:
    return ", ".join(map(repr, group))


def _pair_line(pair: dict) -> str:
    return f"{pair['first']!r}, {pair['second']!r}: {pair['bits']} of 256 bits differ"


def report_sections(report: dict, backgrounds: Examination, targets: Examination,
                    others: Examination, logits: tuple[np.ndarray, np.ndarray]) -> list[Section]:
    """Sections of a contact sheet; arguments as for ``background_report``, and its report."""
    own = {record.image_id: record for record in backgrounds.records}
    data = {record.image_id: record for record in targets.records + others.records}
    return [
        ("backgrounds most like a target (logit of a classifier that has not seen them)",
         _first_tiles(backgrounds.records, logits[1], -logits[1])),
        ("targets most like a background", _first_tiles(targets.records, logits[0], logits[0])),
        ("backgrounds with the least fine detail", _first_tiles(
            backgrounds.records, backgrounds.fine_detail, backgrounds.fine_detail)),
        ("backgrounds twice in the folder", _pair_tiles(
            report["same_bytes"], report["look_alikes"], own, own)),
        ("background, and the same in the data set", _pair_tiles(
            report["same_bytes_in_data_set"], report["look_alikes_in_data_set"], own, data)),
    ]


def _first_tiles(records: Sequence[Record], values: np.ndarray,
                 order: np.ndarray) -> list[np.ndarray]:
    """The pictures with the smallest ``order``, captioned with their values."""
    return [tile(records[index], caption=f"{values[index]:+.2f} "
                 f"{short_name(records[index].image_id)}")
            for index in np.argsort(order, kind="stable")[:SHOWN]]


def _pair_tiles(groups: list[list[str]], pairs: list[dict], first: Mapping[str, Record],
                second: Mapping[str, Record]) -> list[np.ndarray]:
    """Tiles two by two: the first and the last of each group, then each pair."""
    shown = [(group[0], group[-1]) for group in groups]
    shown += [(pair["first"], pair["second"]) for pair in pairs]
    return [tile(records[name], caption=short_name(name))
            for pair in shown[:SHOWN // 2] for records, name in zip((first, second), pair)]
