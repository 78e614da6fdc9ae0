"""``bcct table3``: the paper's Table 3, one BC-CT per delta."""

from evaluation.table_charts import draw_curves
from pipelines.paper import printed
from pipelines.paper.table_command import table_command
from pipelines.paper.tables import PaperTable, TableRow

DELTAS = (0.70, 0.75, 0.80, 0.85, 0.90)


def draw_errors(path, lines):
    """Errors over delta: ours with lines, the paper's dashed."""
    curves = []
    measured = [line for line in lines if line["source"] == "measured"]
    for name, label, colour in (("top1_error", "Top-1", "C0"), ("top5_error", "Top-5", "C1")):
        curves.append((f"{label} error, measured here", [line["delta"] for line in measured],
                       [line[name] for line in measured], f"{colour}o-"))
        quoted = [line[name] for line in lines if line["source"] == "quoted"]
        curves.append((f"{label} error, quoted from the paper", DELTAS, quoted, f"{colour}x--"))
    draw_curves(path, "delta", curves)


TABLE = PaperTable(
    "table3", "Table 3: BC-CT's localization error for each delta",
    tuple(TableRow(f"BC-CT, delta {delta:.2f}", "bc-ct", "vgg16", delta) for delta in DELTAS),
    printed.TABLE3, draw_errors, notes=(
        "The masks of all deltas that are asked for together come from one pass over the images; "
        "CT is trained once for each. tau on the score map is chosen again for each delta, on the "
        "training images' masks; the paper uses delta there as well.",))

command = table_command(TABLE)
