"""``bcct table1``: the paper's Table 1, in ILSVRC's layout."""

from evaluation.table_charts import draw_bars
from pipelines.paper import printed
from pipelines.paper.table_command import table_command
from pipelines.paper.tables import PaperTable, TableRow

TABLE = PaperTable(
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

command = table_command(TABLE)
