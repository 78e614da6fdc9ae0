"""``bcct masks --part`` and ``--finish`` as commands."""

import shutil

import click
import pytest

from benchmarks.fault_injection import shards
from common.mask_cache.manifest import read_manifest
from common.mask_cache.parts import UnfinishedParts
from pipelines.jobs import mask_parts
from tests.examples import TINY, make_masks, run, write_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Inputs, a classifier, and the masks that one process made, in ``folder/cache``."""
    folder = tmp_path_factory.mktemp("parts")
    write_inputs(folder)
    make_masks(folder, "--delta", "0.7")
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Three of the eight training images per shard, so that there are three shards."""
    def job(task):
        return mask_parts.MaskJob(task.records, task.deltas, task.provenance, shard_size=3)
    monkeypatch.setattr(mask_parts, "_mask_job", job)


def words(folder, cache, *arguments):
    return ["masks", "--data", folder / "cub", "--background", folder / "backgrounds", "--cache",
            cache, *TINY, "--delta", "0.7", *arguments]


def test_parts_ask_for_the_classifier(folder, tmp_path):
    for arguments in (["--part", "0/2"], ["--finish"]):
        result = run(*words(folder, tmp_path, *arguments))
        assert result.exit_code == 1 and "train it first, once for all parts" in result.output
        assert "bcct train-bc" in result.output
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("part", ["3/3", "1", "a/b", "-1/4", "0/0"])
def test_a_part_is_named_by_number_and_count(folder, tmp_path, part):
    result = run(*words(folder, tmp_path, f"--part={part}"))
    assert result.exit_code == 2 and "K from 0 to N - 1" in result.output


def test_parts_need_no_other_process(folder, tmp_path, monkeypatch):
    assert "not both" in run(*words(folder, tmp_path, "--part", "0/2", "--finish")).output
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "without torchrun" in run(*words(folder, tmp_path, "--part", "0/2")).output


def test_parts_and_their_end(folder, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(folder / "cache" / "bc", cache / "bc")
    assert "1 shard(s)" in run(*words(folder, cache, "--part", "1/3")).output
    with pytest.raises(UnfinishedParts, match="2 shard"):
        run(*words(folder, cache, "--finish", "3"))
    for number, count in ((0, 1), (2, 1), (3, 0)):
        result = run(*words(folder, cache, "--part", f"{number}/4"))
        assert result.exit_code == 0 and f"{count} shard(s)" in result.output
        assert "bcct masks --finish 4" in result.output
    result = run(*words(folder, cache, "--finish"))
    assert result.exit_code == 0 and "masks are valid" in result.output
    made = next((cache / "masks").iterdir())
    assert len(shards(made)) == 4 and read_manifest(made)["count"] == 8


def test_what_is_missing_is_the_last_line(folder, tmp_path, monkeypatch):
    cache, printed = tmp_path / "cache", []
    shutil.copytree(folder / "cache" / "bc", cache / "bc")
    monkeypatch.setattr(click, "echo", lambda text="", **options: printed.append(text))
    with pytest.raises(UnfinishedParts):
        run(*words(folder, cache, "--finish", "64"))
    assert printed[-1] == "--array=0-2"


def test_the_files_are_those_of_one_process(folder, monkeypatch):
    monkeypatch.undo()  # shards of the usual size
    made = next((folder / "cache" / "masks").iterdir())
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    shutil.rmtree(made)
    cache = folder / "cache"
    for number in (1, 0):
        run(*words(folder, cache, "--part", f"{number}/2"))
    run(*words(folder, cache, "--finish", "2"))
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
