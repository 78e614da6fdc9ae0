"""``bcct table1``: the paper's Table 1, in ILSVRC's layout."""

from pipelines.paper import printed
from pipelines.paper.table_command import table_command
from pipelines.paper.table_pictures import draw_bars
from pipelines.paper.tables import Row, Table

TABLE = Table(
    "table1", "Table 1: localization error (the paper: on ILSVRC's validation images)",
    (Row("Backprop on VGGnet", "backprop", "vgg16"),
     Row("Backprop on GoogLeNet", "backprop", "googlenet"),
     Row("AlexNet-GAP", "cam", "alexnet"),
     Row("VGGnet-GAP", "cam", "vgg16"),
     Row("GoogLeNet-GAP", "cam", "googlenet"),
     Row("GoogLeNet-HaS-32", "has", "googlenet"),
     Row("VGGnet-ACoL", "acol", "vgg16"),
     Row("GoogLeNet-ACoL", "acol", "googlenet"),
     Row("SPG-plain", "spg-plain", "inception_v3"),
     Row("SPG", "spg", "inception_v3"),
     Row("BC-CT", "bc-ct", "vgg16")),
    printed.TABLE1, draw_bars)

command = table_command(TABLE, "imagenet")
