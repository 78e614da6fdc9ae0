"""Input-gradient maps compared with other packages': Captum and pytorch-grad-cam."""

import copy

import torch

from benchmarks import bare
from benchmarks.rows import Target, interleaved, not_measured, quotients, ratio_row
from benchmarks.setting import SIZE
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.gradient_maps import gradient_map
from stage1_bc.recipe import Recipe

BATCH = 8
PLAIN = Recipe(signal="input", mirror=False, blur=0.0)
GUIDED = Recipe(signal="input", guided=True, mirror=False, blur=0.0, reduction="sum")


def peers(setting):
    """Our maps per second over theirs, for the same network and images."""
    return [*_against(setting, "Captum Saliency", _captum, PLAIN),
            *_against(setting, "grad-cam guided backpropagation", _grad_cam, GUIDED)]


def _against(setting, name, build, recipe):
    title, target = f"maps/s over {name}", Target(low=1.0)
    ours = BackgroundClassifier(setting.network(), image_size=SIZE)
    torch.nn.init.normal_(ours.unit.weight, generator=torch.Generator().manual_seed(0))
    theirs = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    try:
        peer = build(theirs)
    except ImportError as error:
        return [not_measured(title, target, f"{error.name} is not installed "
                             "(pip install -e .[bench])")]
    records = bare.target_records(setting.pictures[0], "train")[:BATCH]
    images, = bare.frames(records, SIZE, BATCH)
    contiguous = images.contiguous()
    ours_maps = gradient_map(ours, images, recipe, (SIZE, SIZE))
    agreement = _agreement(ours_maps, peer(contiguous))
    seconds = interleaved(setting.repeats, peer=lambda: peer(contiguous),
                          ours=lambda: gradient_map(ours, images, recipe, (SIZE, SIZE)))
    return [ratio_row(title, quotients(seconds["peer"], seconds["ours"]), target,
                      f"{setting.backbone}, a batch of {len(images)}; correlation of the maps "
                      f"{agreement:.4f}")]


def _captum(classifier):
    """Maps of (N, 3, H, W) images, (N, H, W), by Captum."""
    from captum.attr import Saliency

    saliency = Saliency(classifier)
    return lambda images: saliency.attribute(images.clone().requires_grad_()).amax(1)


def _grad_cam(classifier):
    """The same by pytorch-grad-cam, which takes one image at a time."""
    from pytorch_grad_cam import GuidedBackpropReLUModel

    guided = GuidedBackpropReLUModel(_OneClass(classifier), torch.device("cpu"))
    return lambda images: torch.stack([
        torch.from_numpy(guided(image[None], 0).copy()).abs().sum(-1) for image in images])


class _OneClass(torch.nn.Module):
    """The classifier with its logit as the only class, (N, 1)."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(images)[:, None]


def _agreement(first, second):
    """Correlation of two sets of maps: 1 where both compute the same."""
    pair = torch.stack([first.detach().flatten(), second.detach().flatten().float()])
    return float(torch.corrcoef(pair)[0, 1])
