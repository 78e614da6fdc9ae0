"""Cost of stage 1 compared with the network's own arithmetic."""

from benchmarks import bare
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from benchmarks.setting import GRADIENT_RECIPE, SIZE

DELTAS = tuple(word for delta in (0.70, 0.75, 0.80, 0.85, 0.90) for word in ("--delta", delta))
MASKED = 2  # training images that get masks, in those of the other measurements


def classifier(setting):
    """``bcct train-bc`` over one forward pass over the same decoded images."""
    data, background = setting.pictures
    records = [*bare.target_records(data, "train"), *bare.background_records(background)]
    network, batches = setting.network(), bare.frames(records, SIZE, setting.batch_size)
    bare.forward(network, batches[:1])

    def train(cache, *options):
        setting.fresh(cache / "bc")
        setting.bcct("train-bc", *setting.words(cache), *options)
    seconds = interleaved(
        setting.repeats, bare=lambda: bare.forward(network, batches), whole=lambda: train(
            setting.folder / "unit", *GRADIENT_RECIPE))
    pixel_unit = interleaved(1, whole=lambda: train(setting.cache),
                             bare=lambda: bare.forward(network, batches))
    note = setting.note(len(records))
    return [ratio_row("BC training / forward pass", quotients(seconds["whole"], seconds["bare"]),
                      Target(high=1.3), note),
            ratio_row("BC training with the default recipe's units for pixels / forward pass",
                      quotients(pixel_unit["whole"], pixel_unit["bare"]), None,
                      f"{note}; it learns from at most 1000 targets, however many there are")]


def masks(setting):
    """Images per second of ``bcct masks``, startup included, over those of the network alone.

    For few images, startup takes a tenth of the time.
    """
    setting = setting.with_pictures("masks", train=MASKED * setting.images, test=1)
    records = bare.target_records(setting.pictures[0], "train")
    network, batches = setting.network(), bare.frames(records, SIZE, setting.batch_size)
    bare.forward_and_backward(network, batches[:1])

    def make(*options):
        setting.fresh(setting.cache / "masks")
        setting.bcct("masks", *setting.words(setting.cache), *DELTAS, *options)
    recipes = {"gradient": GRADIENT_RECIPE, "default": ()}
    for options in recipes.values():  # the classifiers are trained here, not below
        setting.bcct("masks", *setting.words(setting.cache), *DELTAS, *options)
    seconds = interleaved(
        setting.repeats, bare=lambda: bare.forward_and_backward(network, batches),
        default=lambda: make(*recipes["default"]), gradient=lambda: make(*recipes["gradient"]))
    note = f"{setting.note()}, 5 deltas"
    return [ratio_row("making masks, one gradient pass: images/s over forward and input-backward",
                      quotients(seconds["bare"], seconds["gradient"]), Target(low=0.90), note),
            ratio_row("making masks, default recipe: images/s over forward and input-backward",
                      quotients(seconds["bare"], seconds["default"]), None,
                      f"{note}; passes over the image and its mirror image, and GrabCut")]
