"""``bcct table1``, ``table2`` and ``table3``: the rows of the paper's tables.

Table 1 is in ILSVRC's layout. Table 2 is in CUB's, with the methods of Table 1 and BC-CT's other
variants over the same masks. Table 3 has one BC-CT per delta.
"""

from evaluation.table_charts import draw_bars, draw_curves
from pipelines.paper import printed
from pipelines.paper.table_command import table_command
from pipelines.paper.tables import PaperTable, TableRow

TABLE1 = PaperTable(
    "table1", "Table 1: localization error (the paper: on ILSVRC's validation images)",
    (TableRow("Backprop on VGGnet", "backprop", "vgg16"),
     TableRow("Backprop on GoogLeNet", "backprop", "googlenet"),
     TableRow("AlexNet-GAP", "cam", "alexnet"),
     TableRow("VGGnet-GAP", "cam", "vgg16"),
     TableRow("GoogLeNet-GAP", "cam", "googlenet"),
     TableRow("GoogLeNet-HaS-32", "has", "googlenet"),
     TableRow("VGGnet-ACoL", "acol", "vgg16"),
     TableRow("GoogLeNet-ACoL", "acol", "googlenet"),
     TableRow("SPG-plain", "spg-plain", "inception_v3"),
     TableRow("SPG", "spg", "inception_v3"),
     TableRow("BC-CT", "bc-ct", "vgg16")),
    printed.TABLE1, draw_bars)

TABLE2 = PaperTable(
    "table2", "Table 2: localization error (the paper: on CUB-200-2011's test images)",
    (TableRow("Backprop on VGGnet", "backprop", "vgg16"),
     TableRow("GoogLeNet-GAP", "cam", "googlenet"),
     TableRow("GoogLeNet-HaS-32", "has", "googlenet"),
     TableRow("ACoL", "acol", "vgg16"),
     TableRow("SPG-plain", "spg-plain", "inception_v3"),
     TableRow("SPG", "spg", "inception_v3"),
     TableRow("BC-CT", "bc-ct", "vgg16"),
     TableRow("BC-CT, loss and mask branch as printed", "bc-ct-paper-loss", "vgg16"),
     TableRow("BC-CT, box from the whole mask map", "bc-ct-mask-map", "vgg16"),
     TableRow("BC-CT, box from the class map", "bc-ct-class-map", "vgg16")),
    printed.TABLE2, draw_bars, checks_masks=True, notes=(
        printed.MIXED_ROW,
        "BC\\* is the paper's check of stage 1's masks: its error is by the looser rule (IoU of at "
        "least 0.5, or the box covers the whole object), its GT-known by the strict one; no class "
        "is asked for.",
        "SPG-plain is SPG without its guidance branches, that is a plain CAM: on the same backbone "
        "it is GAP's own run, listed twice. Backprop uses that run's classifier too."))

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


TABLE3 = PaperTable(
    "table3", "Table 3: BC-CT's localization error for each delta",
    tuple(TableRow(f"BC-CT, delta {delta:.2f}", "bc-ct", "vgg16", delta) for delta in DELTAS),
    printed.TABLE3, draw_errors, notes=(
        "The masks of all deltas that are asked for together come from one pass over the images; "
        "CT is trained once for each. tau on the score map is chosen again for each delta, on the "
        "training images' masks; the paper uses delta there as well.",))

table1, table2, table3 = map(table_command, (TABLE1, TABLE2, TABLE3))
