"""Bad and changed images, through the command line."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.fault_injection import write_tiny_pictures
from common.files import read_json
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, shard_path
from pipelines.__main__ import cli
from tests.test_images import png_header
from tests.test_pipeline import STAGE2_ONLY, run, write_cub


@pytest.fixture
def inputs(tmp_path):
    write_cub(tmp_path / "cub", np.random.default_rng(0))
    write_tiny_pictures(tmp_path / "backgrounds")  # one of them is truncated
    return tmp_path


@pytest.fixture
def one_bad(inputs):
    path = inputs / "cub/images/002.Disc/1.jpg"  # a training image
    path.write_bytes(path.read_bytes()[:300])
    return inputs


def test_all_the_others_are_done_and_the_bad_ones_listed(one_bad):
    result = run(one_bad, "masks", succeeds=False)
    assert result.exit_code == 1
    assert "'002.Disc/1.jpg': the file is truncated" in result.output
    assert "007.png': the file is truncated" in result.output
    assert "2 image(s) could not be read; all others are done" in result.output
    cache = MaskCache(result.output.split("wrote ")[1].split()[0])
    assert list(cache.manifest["unreadable"]) == ["002.Disc/1.jpg"] and len(cache) == 8
    result = run(one_bad, "masks", "--on-bad-image", "skip")
    assert result.exit_code == 0 and "'002.Disc/1.jpg'" in result.output


@pytest.mark.parametrize("variant", ["bc-ct", "cam"])
def test_training_does_without_the_bad_ones(one_bad, variant):
    run(one_bad, "masks", "--on-bad-image", "skip")
    arguments = ["--variant", variant, *STAGE2_ONLY]
    result = run(one_bad, "train-ct", *arguments, succeeds=False)
    assert result.exit_code == 1 and "'002.Disc/1.jpg': the file is truncated" in result.output
    folder = one_bad / result.output.split("wrote ")[1].split()[0]
    assert (folder / "last.pt").is_file()
    assert list(read_json(folder / "config.json")["unreadable"]) == ["002.Disc/1.jpg"]
    result = run(one_bad, "train-ct", "--resume", "--on-bad-image", "skip", *arguments)
    assert result.exit_code == 0 and "'002.Disc/1.jpg'" in result.output


def damage(path):
    """Make a picture unreadable without changing its size; gives a function that repairs it."""
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    return lambda: path.write_bytes(content)


@pytest.mark.parametrize("delta", ["0.80", "0.90"])
def test_an_image_that_can_be_read_again_gets_its_mask(inputs, delta):
    run(inputs, "masks", "--on-bad-image", "skip", "--delta", "0.8")
    path = inputs / "cub/images/002.Disc/1.jpg"
    whole = MaskCache(next((inputs / "cache/masks").iterdir()))
    expected = whole.read("002.Disc/1.jpg"), shard_path(whole.folder, 0).read_bytes()
    shutil.rmtree(inputs / "cache/masks")
    repair = damage(path)
    output = run(inputs, "masks", "--on-bad-image", "skip", "--delta", "0.8").output
    assert "'002.Disc/1.jpg': its content is none of" in output
    repair()
    output = run(inputs, "masks", "--on-bad-image", "skip", "--delta", delta).output
    cache = MaskCache(whole.folder, 0.8)
    assert "'002.Disc/1.jpg': " not in output and not cache.manifest["unreadable"]
    for value, held in zip(cache.read("002.Disc/1.jpg"), expected[0]):
        assert np.array_equal(value, held)
    if delta == "0.80":
        assert "'002.Disc/1.jpg' can be read now" in output
        assert shard_path(cache.folder, 0).read_bytes() == expected[1]


def test_masks_refuses_images_that_have_changed(inputs):
    run(inputs, "masks", "--on-bad-image", "skip")
    changed = inputs / "cub/images/001.Disc/2.jpg"
    put_back = damage(changed)
    with pytest.raises(MaskCacheError, match="1 image.s. are not those that the masks in .* were "
                       "made from: '001.Disc/2.jpg' has changed since its mask was made; put the "
                       "old files back, or remove shard-00000.h5"):
        raise run(inputs, "masks", succeeds=False).exception
    put_back()
    assert "wrote" in run(inputs, "masks", "--on-bad-image", "skip").output
    damage(changed)
    shard_path(next((inputs / "cache/masks").iterdir()), 0).unlink()
    assert "'001.Disc/2.jpg': " in run(inputs, "masks", "--on-bad-image", "skip").output


def test_evaluation_finishes_the_others_and_lists_the_bad(inputs):
    run(inputs, "masks", "--on-bad-image", "skip")
    folder = run(inputs, "train-ct", *STAGE2_ONLY).output.split("wrote ")[1].split()[0]
    truncated = inputs / "cub/images/002.Disc/3.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-400])
    for name in ("001.Disc/0.jpg", "001.Disc/2.jpg"):  # without a header; for tau
        damage(inputs / "cub/images" / name)
    result = CliRunner().invoke(cli, ["evaluate", folder])
    assert result.exit_code == 1 and "2 images, box rule" in result.output
    for name in ("001.Disc/0.jpg", "002.Disc/3.jpg", "001.Disc/2.jpg"):
        assert f"'{name}': " in result.output
    assert "3 image(s) could not be read; all others are done" in result.output
    report = read_json(Path(folder) / "report/report.json")
    assert sorted(report["unreadable"]) == ["001.Disc/0.jpg", "001.Disc/2.jpg", "002.Disc/3.jpg"]
    assert report["images"] == 2
    assert report["warnings"][0].startswith("3 image(s) could not be read and count in no figure")
    result = CliRunner().invoke(cli, ["evaluate", folder, "--seeds", "0", "--tau-from", "val",
                                      "--on-bad-image", "skip"])
    assert result.exit_code == 0, result.output


def test_score_maps_are_written_and_scored_without_the_bad(inputs):
    run(inputs, "masks", "--on-bad-image", "skip")
    folder = run(inputs, "train-ct", *STAGE2_ONLY).output.split("wrote ")[1].split()[0]
    damage(inputs / "cub/images/001.Disc/0.jpg")
    out = inputs / "exported"
    result = CliRunner().invoke(cli, ["export-scoremaps", folder, "--out", str(out)])
    assert result.exit_code == 1 and "wrote 3 score maps" in result.output
    assert "'001.Disc/0.jpg': " in result.output
    assert "001.Disc/0.jpg" not in (out / "metadata/image_ids.txt").read_text()
    result = CliRunner().invoke(cli, [
        "evaluate", "--scoremaps", str(out / "scoremaps"), "--data", str(inputs / "cub"),
        "--tau-from", "0.5", "--out", str(out / "report"), "--on-bad-image", "skip"])
    assert result.exit_code == 0 and "3 images, box rule" in result.output
    assert list(read_json(out / "report/report.json")["unreadable"]) == ["001.Disc/0.jpg"]
    for path in (inputs / "cub/images").rglob("*.jpg"):
        damage(path)
    result = CliRunner().invoke(cli, [
        "evaluate", "--scoremaps", str(out / "scoremaps"), "--data", str(inputs / "cub"),
        "--tau-from", "0.5", "--out", str(out / "report")])
    assert "none of the images in" in str(result.exception)


@pytest.mark.parametrize("variant, remedy", [
    ("bc-ct", "make the masks again"), ("cam", "remove .* to")])
def test_an_image_that_is_lost_in_training_says_how_to_go_on(inputs, variant, remedy):
    run(inputs, "masks", "--on-bad-image", "skip")
    arguments = ["--variant", variant, *STAGE2_ONLY]
    run(inputs, "train-ct", *arguments)
    run_folder = next((inputs / "cache/ct").iterdir())
    (run_folder / "last.pt").unlink()
    damage(inputs / "cub/images/001.Disc/2.jpg")
    result = run(inputs, "train-ct", *arguments, succeeds=False)
    assert result.exit_code == 1
    assert re.search(f"001.Disc/2.jpg': .* put it back and continue with --resume, or {remedy}",
                     " ".join(result.output.split()))


def write_every_kind(folder):
    """A picture of each kind that people have; gives the names of those that nobody could see."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was turned
    folder.mkdir(parents=True)
    for name, mode in (("grey.png", "L"), ("cmyk.jpg", "CMYK"), ("palette.gif", "P"),
                       ("transparent.png", "RGBA"), ("with space.png", "RGB"),
                       ("grünfink 鳥.png", "RGB"), ("two\nlines.png", "RGB")):
        picture.convert(mode).save(folder / name)
    picture.save(folder / "a png.jpg", format="PNG")
    picture.save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "moving.webp", save_all=True, append_images=[picture.rotate(180)])
    cv2.imwrite(str(folder / "deep.png"), pixels.astype(np.uint16) * 257)
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (20_000, 3)).save(folder / "wide.png")
    (folder / "link.png").symlink_to("grey.png")
    (folder / "bad: truncated.jpg").write_bytes((folder / "turned.jpg").read_bytes()[:-300])
    (folder / "bad: empty.jpg").touch()
    (folder / "bad: text.jpg").write_text("no picture")
    (folder / "bad:\nnewline.jpg").write_text("no picture")
    (folder / "bad: link.jpg").symlink_to("gone.jpg")
    (folder / "bad: bomb.png").write_bytes(png_header(20_000, 20_000, 8, 2))
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("bad:"))


def test_every_kind_of_picture_gets_its_mask_or_its_reason(inputs):
    bad = write_every_kind(inputs / "cub" / "train" / "kinds")
    (inputs / "cub" / "train" / "images").symlink_to(inputs / "cub" / "images" / "001.Disc")
    (inputs / "cub" / "test").symlink_to("train")
    arguments = ["--dataset", "folder", "--on-bad-image", "skip"]
    output = run(inputs, "masks", "--recipe", "paper", *arguments).output
    cache = MaskCache(output.split("wrote ")[1].splitlines()[0])
    assert len(cache) == 26  # 14 that decode, 6 that do not, 6 of discs
    assert list(cache.manifest["unreadable"]) == [f"train/kinds/{name}" for name in bad]
    assert "7 image(s) could not be read" in output  # a background too
    for name in bad:
        assert f"{'train/kinds/' + name!r}: " in output
    assert all(cache.read(image_id)[1] == ("bad:" not in image_id) for image_id in cache)
    output = run(inputs, "train-ct", "--recipe", "paper", *arguments, *STAGE2_ONLY).output
    assert "6 image(s) could not be read and were left out" in output


def test_a_background_that_cannot_be_read_is_listed(inputs):
    result = run(inputs, "train-bc", succeeds=False)
    assert result.exit_code == 1 and "007.png': the file is truncated" in result.output
    assert "wrote" in run(inputs, "train-bc", "--on-bad-image", "skip").output


@pytest.mark.parametrize("workers", ["0", "1"])
def test_training_refuses_an_image_that_has_changed(inputs, workers):
    run(inputs, "masks", "--on-bad-image", "skip")
    path = inputs / "cub/images/001.Disc/2.jpg"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # of the same size: the key stays
    path.write_bytes(content)
    with pytest.raises(MaskCacheError, match="the image '001.Disc/2.jpg' .* has changed since its "
                       "mask was made; put the old file back, or remove"):
        raise run(inputs, "train-ct", *STAGE2_ONLY, "--workers", workers,
                  succeeds=False).exception


def test_tau_is_not_chosen_from_an_image_that_has_changed(inputs):
    run(inputs, "masks", "--on-bad-image", "skip")
    folder = run(inputs, "train-ct", *STAGE2_ONLY).output.split("wrote ")[1].split()[0]
    path = inputs / "cub/images/001.Disc/2.jpg"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(MaskCacheError, match="'001.Disc/2.jpg' .* has changed since its mask"):
        CliRunner().invoke(cli, ["evaluate", folder], catch_exceptions=False)


def test_a_changed_background_is_another_classifier(inputs):
    (inputs / "backgrounds/007.png").unlink()
    first = run(inputs, "train-bc").output.split("wrote ")[1].split()[0]
    path = inputs / "backgrounds/003.png"
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    longer = run(inputs, "train-bc").output.split("wrote ")[1].split()[0]
    path.write_bytes(content + b"y")
    other = run(inputs, "train-bc").output.split("wrote ")[1].split()[0]
    assert len({first, longer, other}) == 3


def test_training_refuses_a_flipped_bit(inputs):
    output = run(inputs, "masks", "--on-bad-image", "skip").output
    shard = MaskCache(output.split("wrote ")[1].split()[0]).folder / "shard-00000.h5"
    content = shard.read_bytes()
    random = np.random.default_rng(0)
    for offset in (0, len(content) // 2, *random.integers(len(content), size=20), -1):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << random.integers(8)
        shard.write_bytes(damaged)
        with pytest.raises(MaskCacheError,
                           match="shard-00000.h5 is damaged .* run bcct masks again"):
            raise run(inputs, "train-ct", *STAGE2_ONLY, succeeds=False).exception
    assert not (inputs / "cache/ct").exists()
    assert "is made again" in run(inputs, "masks", "--on-bad-image", "skip").output
    run(inputs, "train-ct", *STAGE2_ONLY)


def test_a_copied_cache_is_held_against_the_images(inputs):
    output = run(inputs, "masks", "--on-bad-image", "skip").output
    copy = inputs / "copy"
    shutil.copytree(output.split("wrote ")[1].split()[0], copy)
    shutil.rmtree(inputs / "cache" / "masks")
    output = run(inputs, "train-ct", "--masks", str(copy), *STAGE2_ONLY).output
    assert "wrote" in output and f"masks of {copy}: key {MaskCache(copy).key}, recipe def" in output
    picture = np.zeros((40, 40, 3), np.uint8)
    cv2.imwrite(str(inputs / "cub/images/001.Disc/2.jpg"), picture)
    with pytest.raises(MaskCacheError, match="made for other images than .* holds: 1 changed since "
                       ".*'001.Disc/2.jpg'"):
        raise run(inputs, "train-ct", "--masks", str(copy), *STAGE2_ONLY,
                  succeeds=False).exception
