"""Versions of the code that makes masks: part of what masks and classifiers are known by.

Settings and weights do not say by which program a mask was made. So whoever changes what a part
below gives raises its number; ``tests/test_program_versions.py`` notices when that was forgotten.
What is at version 1 is left out of records: those made before there were versions stay valid.
"""

from collections.abc import Collection

from stage1_bc.recipe import Recipe

VERSIONS = {
    "gradients": 1,  # stage1_bc.gradient_maps and stage1_bc.guided
    "pixels": 1,  # the map of a unit for pixels, stage1_bc.pixel_map and pixel_unit
    "evidence": 1,  # the map and the unit of the classifier's evidence, stage1_bc.evidence
    "sharpening": 1,  # stage1_bc.sharpening
    "cutting": 1,  # stage1_bc.cutting
    "learning": 1,  # how a classifier's unit learns, stage1_bc.classifier_training
    # What units for pixels learn from, stage1_bc.reading, and how, stage1_bc.moments and
    # first_labels.
    "teaching": 1,
    # The labels that two units agree on, stage1_bc.agreement; versions 1 and 2 spared no cells.
    "agreement": 3,
    "scales": 2,  # maps of units for pixels at other scales than 1, which version 1 ignored
    "network": 1,  # how the network for pixels learns and what it gives, stage1_bc.pixel_network
    # The same of the tuned network, stage1_bc.tuned_network; version 1 had no composites, version
    # 2 learned from the network for pixels that masks are made with.
    "tuning": 3,
    # The map of the tuned network; version 1 was the geometric mean of it and of the map of the
    # network for pixels.
    "tuned map": 2,
    # Which clusters are doubtful, stage1_bc.doubtful_cells, mask_clusters and recurring, and what
    # learns them: in version 1 all units for pixels, in version 2 the tuned network, its teacher
    # and all that labels images for it, in version 3 the same without the evidence unit. What
    # learns them is not in the record; tests/test_doubtful_cells.py checks it.
    "doubting": 3,
}
SIGNALS = {"tuned": ("tuned map", "tuning", "pixels"), "network": ("network", "pixels"),
           "pixels": ("pixels",), "evidence": ("evidence", "pixels"),
           "agreement": ("pixels", "evidence")}
"""The parts that make the map of a signal; gradients where it is not listed."""
TEACHING = {"pixel_unit": ("teaching", "gradients", "cutting", "sharpening"),
            "pixel_network": ("network", "teaching", "gradients", "cutting", "sharpening"),
            "tuned_network": ("tuning", "agreement", "evidence", "network", "teaching",
                              "gradients", "sharpening", "cutting"),
            "evidence_unit": ("teaching", "evidence", "sharpening", "cutting")}
"""The parts that teach each unit for pixels."""


def versions_of_recipe(recipe: Recipe) -> dict[str, dict[str, int]]:
    """A record of the parts that a recipe uses: {"versions": ...}, or {} while all are at 1."""
    parts = [*SIGNALS.get(recipe.signal, ("gradients",)), "cutting"]
    if recipe.reads_pixels and set(recipe.scales) != {1.0}:
        parts.append("scales")
    return _recorded([*parts, *(["sharpening"] if recipe.sharpen else [])])


def versions_of_classifier(units: Collection[str], doubting: bool = False
                           ) -> dict[str, dict[str, int]]:
    """The same of the parts that train a background classifier.

    Args:
        units: names of the units for pixels that it has.
        doubting: whether the tuned network learns doubtful clusters as background.
    """
    return _recorded({"learning", *(part for name in units for part in TEACHING[name]),
                      *(["doubting"] if doubting else [])})


def _recorded(parts):
    above = {part: VERSIONS[part] for part in sorted(parts) if VERSIONS[part] > 1}
    return {"versions": above} if above else {}
