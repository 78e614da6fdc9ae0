"""Grey-scale reconstruction, compared with its definition."""

import heapq

import numpy as np
import pytest

from stage2_ct.reconstruction import reconstruct


def best_paths(levels, start):
    """The smallest value along the best 8-connected path to each pixel, highest paths first."""
    height, width = levels.shape
    best = np.zeros_like(levels)
    queue = [(-int(levels.flat[start]), *divmod(start, width))]
    while queue:
        value, row, column = heapq.heappop(queue)
        if best[row, column] >= -value:
            continue
        best[row, column] = -value
        for down in range(max(row - 1, 0), min(row + 2, height)):
            for right in range(max(column - 1, 0), min(column + 2, width)):
                heapq.heappush(queue, (max(value, -int(levels[down, right])), down, right))
    return best


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 23)])
def test_equals_the_best_paths(shape):
    random = np.random.default_rng(0)
    maps = random.integers(0, 65536, (6, *shape), dtype=np.uint16)
    starts = random.integers(0, maps[0].size, 6).tolist()
    np.testing.assert_array_equal(
        reconstruct(maps, starts),
        np.stack([best_paths(one, start) for one, start in zip(maps, starts)]))


def test_a_path_that_winds_through_the_whole_map_is_followed_to_its_end():
    maze = np.full((21, 21), 1, np.uint16)
    maze[::2] = 65535
    maze[1::4, -1] = maze[3::4, 0] = 65535
    np.testing.assert_array_equal(reconstruct(maze[None], [0])[0], maze)


def test_a_diagonal_path_is_followed():
    diagonal = np.eye(40, dtype=np.uint16) * 500
    np.testing.assert_array_equal(reconstruct(diagonal[None], [0])[0], diagonal)


def test_maps_of_a_batch_do_not_touch_each_other():
    maps = np.random.default_rng(1).integers(0, 50, (5, 30, 20), dtype=np.uint16)
    alone = [reconstruct(one[None], [7])[0] for one in maps]
    np.testing.assert_array_equal(reconstruct(maps, [7] * 5), np.stack(alone))
