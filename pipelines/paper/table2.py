"""``bcct table2``: the paper's Table 2, in CUB's layout, with the methods of Table 1.

Also BC-CT's other variants, over the same masks.
"""

from evaluation.table_charts import draw_bars
from pipelines.paper import printed
from pipelines.paper.table_command import table_command
from pipelines.paper.tables import PaperTable, TableRow

TABLE = PaperTable(
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

command = table_command(TABLE)
