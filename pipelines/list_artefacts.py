"""``bcct list``: what CACHE holds, and what each thing was made from."""

import datetime
from pathlib import Path

import click

from common.artefacts import CLASSIFIERS, CLUSTERS, MASKS, RUNS
from common.files import load_checkpoint, read_json
from common.mask_cache.finding import mask_caches
from common.mask_cache.shards import delta_name
from pipelines.jobs import options
from stage1_bc.classifier_file import stored_classifiers
from stage1_bc.stage1_job import CLUSTERS_FILE
from stage2_ct.run import MANIFEST, stored_runs

HEADINGS = ("name", "made from", "when", "size", "state", "figures")


@options.grouped_command("list")
@options.options("cache")
def command(cache):
    """Show the classifiers, mask caches, mask clusters and training runs in CACHE.

    The other commands accept a unique beginning of a name.
    """
    for title, lines in (("background classifiers", _classifiers(cache / CLASSIFIERS)),
                         ("mask caches", _mask_caches(cache / MASKS)),
                         ("mask clusters", _clusters(cache / CLUSTERS)),
                         ("training runs", _runs(cache / RUNS))):
        click.echo(f"{title} ({cache})" if lines else f"{title}: none in {cache}")
        for line in _aligned([HEADINGS, *lines]) if lines else ():
            click.echo(f"  {line}")


def _classifiers(root):
    lines = []
    for stored in stored_classifiers(root):
        description, about = stored.checkpoint["description"], stored.about
        config = description["config"]
        lines.append((stored.path.name, f"{description['backbone']}, head {config['head']}, seed "
                      f"{config['seed']}", _when(stored.path), _size(stored.path.stat().st_size),
                      "finished", f"held back: targets {about['target_accuracy']:.1%}, backgrounds "
                      f"{about['background_accuracy']:.1%}"))
    return lines


def _mask_caches(root):
    lines = []
    for folder, manifest in mask_caches(root):
        about, deltas = manifest["about"], map(delta_name, manifest["deltas"])
        valid = ", ".join(f"{100 * count / manifest['count']:.0f} % valid at {name}"
                          for name, count in sorted(manifest["valid"].items()))
        maker = f"recipe {about.get('recipe')}"
        if model := about.get("model"):
            maker = f"by {Path(model).name} at tau {manifest['provenance']['recipe']['tau']:.2f}"
        lines.append((folder.name, f"{about.get('dataset')} {about.get('split')}, "
                      f"{about.get('backbone')}, {maker}, delta {' '.join(deltas)}",
                      _when(folder), _size(_bytes_in(folder)), "finished",
                      f"{manifest['count']:,} images, {valid}"))
    return lines + _others(root, lines, "not finished")


def _clusters(root):
    lines = []
    for path in sorted(root.glob(f"*/{CLUSTERS_FILE}")):
        try:
            checkpoint = load_checkpoint(path)
            about, count = checkpoint["about"], len(checkpoint["clusters"]["centres"])
            made, state, held = (f"masks {about['masks'][:12]}, {about['backbone']}", "finished",
                                 f"{count} clusters")
        except (KeyError, ValueError):
            made, state, held = "", "damaged", ""
        lines.append((path.parent.name, made, _when(path), _size(_bytes_in(path.parent)), state,
                      held))
    return lines


def _runs(root):
    lines = []
    for run, manifest in stored_runs(root):
        held = manifest["description"]
        masks = manifest["masks"] and Path(manifest["masks"]["folder"]).name
        lines.append((run.folder.name, f"{held['variant']}, {held['backbone']}, seed "
                      f"{held['seed']}, " + (f"masks {masks}" if held["masks"] else "no masks"),
                      _when(run.folder), _size(_bytes_in(run.folder)),
                      _state(run, held["config"]["epochs"]),
                      _headline(run.folder / "report" / "report.json")))
    return lines + _others(root, lines, f"no readable {MANIFEST}")


def _state(run, epochs):
    """How far a run is; its model is in the checkpoint, its epochs in the log."""
    try:
        done = len(run.logged())
    except ValueError:
        return "its log is damaged"
    if done and not run.checkpoint.is_file():
        return f"no {run.checkpoint.name}"
    return "finished" if done >= epochs else f"epoch {done} of {epochs}"


def _others(root, lines, state):
    """Lines of the folders that have none yet."""
    shown = {line[0] for line in lines}
    return [(folder.name, "", _when(folder), _size(_bytes_in(folder)), state, "")
            for folder in sorted(root.glob("*")) if folder.is_dir() and folder.name not in shown]


def _headline(path):
    """The headline figures of a report, or nothing before there is one."""
    if not path.is_file():
        return "not evaluated"
    try:
        report = read_json(path)
        metrics = report["metrics"]
    except (KeyError, ValueError):
        return "its report is damaged: evaluate it again"
    figures = [f"{label} {metrics[name]['value']:.1f}" for name, label in (
        ("gt_known", "GT-known"), ("top1_loc", "Top-1 loc."), ("top1_cls", "Top-1 class."))
        if name in metrics]
    if report["tau"]["source"].startswith("test"):
        figures.append("tau by an oracle")
    if report["split"] != "test":
        figures.append(f"{report['split']} images")
    return ", ".join(figures)


def _when(path):
    return f"{datetime.datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}"


def _bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(count):
    return f"{count / 2 ** 20:,.1f} MiB"


def _aligned(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]
