"""A trained model as ONNX: image in, class logits and score map out."""

import importlib.util
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from common.files import replacing
from stage2_ct.localizer import Localizer
from stage2_ct.model import LocalizationMethod, stretch, upsample

OPSET = 18


class OnnxNetwork(nn.Module):
    """The network and the part of the score map that is arithmetic.

    Args:
        method: trained method.
        kind: "class", "mask" or "product", see ``stage2_ct.score_maps``.
        frame: side of the score maps, in pixels.
    """

    def __init__(self, method: LocalizationMethod, kind: str, frame: int):
        super().__init__()
        self.method, self.kind, self.frame = method, kind, frame

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits and score maps of the predicted classes.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            ((N, C), (N, frame, frame) in [0, 1]).
        """
        prediction = self.method.predict(images)
        size = (self.frame, self.frame)
        maps: torch.Tensor | None = None
        if self.kind != "mask":
            places = prediction.logits.argmax(1)[:, None, None, None]
            # Not maps_of, whose number of images would become a constant.
            of_class = prediction.class_maps.gather(
                1, places.expand(-1, 1, *prediction.class_maps.shape[2:]))
            maps = stretch(upsample(of_class, size))
        if self.kind != "class" and prediction.mask_logits is not None:
            masks = stretch(upsample(prediction.mask_logits, size).sigmoid())
            maps = masks if maps is None else stretch(maps * masks)
        assert maps is not None  # every kind is one of the two
        return prediction.logits, maps[:, 0]


def write_onnx(path: Path, localizer: Localizer) -> Path:
    """Write a model as ONNX with a dynamic batch.

    The score map "object" ends with a search through the mask map that ONNX has no operator for:
    such a model gives the whole mask map, whose box differs where several things stand out. Names
    of the classes, tau and sizes are in the file's metadata.

    Args:
        path: the file.
        localizer: Localizer on the CPU.

    Returns:
        The path.

    Raises:
        ValueError: the packages onnx and onnxscript are missing, or the method's maps need
            gradients, which ONNX does not have.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"--onnx needs the package {package}: pip install 'bcct[onnx]'")
    if localizer.model.localization["variant"] == "backprop":
        raise ValueError("the variant backprop computes gradients of its input, which ONNX cannot: "
                         "leave --onnx out")
    kind = onnx_kind(localizer)
    network = OnnxNetwork(localizer.method, kind, localizer.frame).eval()
    example = torch.rand(2, 3, localizer.side, localizer.side)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (example,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["image"], output_names=["logits", "score_map"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    program.model.metadata_props.update({
        "classes": json.dumps(localizer.classes), "tau": f"{localizer.tau:.6f}",
        "input_size": str(localizer.side), "frame": str(localizer.frame), "score_map": kind})
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
    return path


def onnx_kind(localizer: Localizer) -> str:
    """The score map that the ONNX file of a model gives."""
    return "mask" if localizer.score_map == "object" else localizer.score_map
