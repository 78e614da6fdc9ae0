"""A small plain convolutional network: the backbone of the embedded default.

Its weights are trained by ``python -m demo.pretrain`` and stored in ``demo/tiny.pth``.
"""

from torch import nn

STRIDE = 8  # pixels of the image per cell of the feature map
CHANNELS = 128  # of the feature map
WIDTHS = (16, "pool", 32, "pool", 64, 64, "pool", 128, 128, CHANNELS)  # filters of each 3x3 layer


def tiny_features(batch_norm: bool = False) -> nn.Sequential:
    """Seven 3x3 convolutions, each with a ReLU, and three 2x2 max pools, in one flat sequence.

    Every index holds one ``Conv2d``, ``ReLU`` or ``MaxPool2d``, so that a gradient map can be read
    at any of them. No ReLU works in place, as guided backprop's hooks require.

    Args:
        batch_norm: put a ``BatchNorm2d`` after every convolution. Only the pretraining does; it
            folds them into the convolutions afterwards, which gives the network without them.

    Returns:
        nn.Sequential from (N, 3, H, W) ImageNet-normalised RGB to (N, 128, H // 8, W // 8).
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        if isinstance(width, str):  # "pool"
            layers.append(nn.MaxPool2d(kernel_size=2))
            continue
        layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers)
