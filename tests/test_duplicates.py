import cv2
import numpy as np

from stage1_bc.background_check.duplicates import (NEAR, distances, look_alikes, perceptual_hash,
                                                   same_bytes)


def picture(seed, side=96):
    """Soft random blobs: as unlike each other as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def test_the_same_picture_resized_and_brighter_has_nearly_the_same_hash():
    original = picture(0)
    smaller = cv2.resize(original, (70, 50), interpolation=cv2.INTER_AREA)
    brighter = np.clip(original * 0.9 + 20, 0, 255).astype(np.uint8)
    for changed in (smaller, brighter):
        bits = distances(perceptual_hash(original), perceptual_hash(changed)[None])
        assert bits.shape == (1,) and bits[0] <= NEAR


def test_distances_count_bits():
    hashes = np.array([[0, 0, 0, 0], [0b1011, 0, 0, 1], [2 ** 64 - 1] * 4], np.uint64)
    assert distances(hashes[0], hashes).tolist() == [0, 4, 256]


def test_look_alikes_within_name_each_pair_once_the_closest_first():
    hashes = np.array([[0, 0, 0, 0], [0b111, 0, 0, 0], [2 ** 64 - 1] * 4, [1, 0, 0, 0]], np.uint64)
    assert look_alikes(hashes, limit=2) == [(0, 3, 1), (1, 3, 2)]
    assert look_alikes(hashes, limit=0) == []


def test_look_alikes_across_index_both_lists():
    hashes = np.array([[0, 0, 0, 0], [7, 0, 0, 0]], np.uint64)
    others = np.array([[2 ** 64 - 1] * 4, [7, 0, 0, 0]], np.uint64)
    assert look_alikes(hashes, others, limit=3) == [(1, 1, 0), (0, 1, 3)]


def test_unrelated_pictures_do_not_look_alike():
    hashes = np.stack([perceptual_hash(picture(seed)) for seed in range(12)])
    assert look_alikes(hashes) == []


def test_same_bytes_wants_equal_content_not_equal_size(tmp_path):
    contents = [b"one", b"two", b"one", b"longer", b"six", b"six"]
    paths = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents):
        path.write_bytes(content)
    assert same_bytes([*paths, tmp_path / "missing"], first=7) == [[0, 2], [4, 5]]
    assert same_bytes(paths, first=4) == [[0, 2]]  # 4 and 5 are alike, but not looked for
