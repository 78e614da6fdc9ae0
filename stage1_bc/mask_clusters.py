"""Clusters of what recurs in the masks, for a person to name those that are not the target.

A perch that is in half of the target images and in no background image is evidence for a target,
and nothing in the images alone says otherwise. A person sees it at a glance. The features of all
cells that masks cover are grouped, each group is shown, and the cells of the groups that a person
names count as background when the units for pixels are taught again. Without a person, the tuned
network learns the most doubtful ones as background (``stage1_bc.doubtful_cells``).
"""

import dataclasses
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

import torch
from torch.nn import functional

from common.files import load_checkpoint, save_checkpoint

CLUSTER_COUNT = 48  # unless a person asks for another number
ITERATIONS = 25  # of k-means
LARGEST_SAMPLE = 200_000  # features that k-means learns from at most


@dataclasses.dataclass(frozen=True)
class FeatureClusters:
    """Centres of clusters of standardised features, by direction (spherical k-means)."""

    mean: torch.Tensor
    """(D,) float, of the features that were clustered."""
    scale: torch.Tensor
    """(D,) float, their standard deviation."""
    centres: torch.Tensor
    """(K, D) float of unit length, in standardised features."""

    def assign(self, features: torch.Tensor) -> torch.Tensor:
        """Index of the nearest centre: (..., D) float or half to (...) int64."""
        return (self._directions(features) @ self.centres.T).argmax(-1)

    def cells(self, features: torch.Tensor, numbers: Collection[int]) -> torch.Tensor:
        """Which cells are of some clusters: (n, cells, D) float or half to (n, cells) bool.

        Args:
            features: (n, cells, D) float or half.
            numbers: of the clusters.
        """
        wanted = torch.tensor(list(numbers))
        return torch.cat([torch.isin(self.assign(part), wanted) for part in features.split(64)])

    def _directions(self, features):
        return functional.normalize((features.float() - self.mean) / self.scale, dim=-1)


def fit_clusters(features: torch.Tensor, count: int, seed: int = 0) -> FeatureClusters:
    """Cluster features by spherical k-means.

    Args:
        features: (n, D) float or half; a random 200,000 of them are used where there are more.
        count: number of clusters K.
        seed: of that sample and of the first centres.

    Raises:
        ValueError: there are fewer features than clusters.
    """
    if len(features) < count:
        raise ValueError(f"masks cover only {len(features)} cells, too few for {count} clusters "
                         "(--clusters N)")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(features), generator=generator)[:LARGEST_SAMPLE]
    sample = features[order].float()
    clusters = FeatureClusters(sample.mean(0), sample.std(0).clamp_min(1e-6), torch.empty(0))
    directions = clusters._directions(sample)
    centres = directions[:count]
    for _ in range(ITERATIONS):
        nearest = (directions @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, directions)
        # The sum over an empty cluster is 0: it keeps its centre.
        empty = ~sums.any(1, keepdim=True)
        centres = functional.normalize(torch.where(empty, centres, sums), dim=1)
    return dataclasses.replace(clusters, centres=centres)


@dataclasses.dataclass(frozen=True)
class NotTarget:
    """Clusters that a person has named as not the target."""

    clusters: FeatureClusters
    numbers: tuple[int, ...]
    path: Path
    """The file that they are from."""

    @property
    def digest(self) -> str:
        """Of everything that tells their cells from others, 12 hexadecimal digits."""
        content = hashlib.sha256(repr(self.numbers).encode())
        for tensor in (self.clusters.mean, self.clusters.scale, self.clusters.centres):
            content.update(tensor.numpy().tobytes())
        return content.hexdigest()[:12]

    def __str__(self) -> str:
        """As ``--not-target`` takes it."""
        return f"{self.path.absolute()}:{','.join(map(str, self.numbers))}"

    def cells(self, features: torch.Tensor) -> torch.Tensor:
        """Which cells are of a named cluster: (n, cells, D) float or half to (n, cells) bool."""
        return self.clusters.cells(features, self.numbers)


def save_clusters(path: Path, clusters: FeatureClusters, about: dict) -> None:
    """Write clusters to a file, with a dict of plain values about them."""
    save_checkpoint(path, {"clusters": dataclasses.asdict(clusters), "about": about})


def load_not_target(path: Path, numbers: Iterable[int], backbone: str,
                    weights: str) -> NotTarget:
    """Named clusters of a file.

    Args:
        path: the file that ``save_clusters`` wrote.
        numbers: of the clusters that are not the target.
        backbone, weights: whose features are to be told apart; ``weights`` is their identity.

    Raises:
        ValueError: it is no such file, of other features, or has no cluster of such a number.
    """
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint, dict) or "clusters" not in checkpoint:
        raise ValueError(f"{path} is no file of mask clusters; bcct check-masks writes one")
    about = checkpoint["about"]
    if (about["backbone"], about["weights"]) != (backbone, weights):
        raise ValueError(f"the clusters in {path} are of features of {about['backbone']} with "
                         f"other weights than the background classifier's {backbone}; run bcct "
                         "check-masks on masks that it made")
    clusters = FeatureClusters(**checkpoint["clusters"])
    numbers = tuple(sorted(set(numbers)))
    for number in numbers:
        if not 0 <= number < len(clusters.centres):
            raise ValueError(f"{path} has no cluster {number}; its {len(clusters.centres)} "
                             "clusters are numbered from 0")
    return NotTarget(clusters, numbers, path)
