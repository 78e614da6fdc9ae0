"""What the operating system refuses is named as that: it is no damage, nothing is made again."""

import builtins
import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from benchmarks import fault_injection as faults
from benchmarks.fault_injection import finished_shards, make_tiny_masks, shards
from common.files import load_checkpoint, read_json, save_checkpoint
from common.locks import write_lock
from common.mask_cache import reader
from common.mask_cache.manifest import MANIFEST, read_manifest
from common.mask_cache.reader import MaskCache
from common.system_errors import CannotRead, SystemRefusal
from stage1_bc.classifier_file import stored_classifiers
from tests.examples import run

REFUSALS = [errno.EAGAIN, errno.EACCES, errno.EIO, errno.ENOLCK, errno.EMFILE, errno.ESTALE]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    faults.write_tiny_pictures(folder / "pictures")
    make_tiny_masks(folder / "pictures", folder / "cache")
    return folder


@pytest.fixture
def masks(original, tmp_path):
    """A small finished cache; the pictures that it is of lie next to it."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "cache"


def refuse(monkeypatch, name, number):
    """Let the system refuse to read files of a name."""
    read_bytes, open_file = Path.read_bytes, builtins.open

    def refused(path):
        if Path(path).name == name:
            raise OSError(number, os.strerror(number), str(path))

    def read(path):
        refused(path)
        return read_bytes(path)

    def opened(path, *arguments, **options):
        if isinstance(path, (str, Path)) and "w" not in "".join(map(str, arguments)):
            refused(path)
        return open_file(path, *arguments, **options)
    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(builtins, "open", opened)


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("name", ["shard-00003.h5", "index.h5", MANIFEST])
def test_verify_and_readers_name_it_and_advise_no_removal(masks, monkeypatch, name, number):
    refuse(monkeypatch, name, number)
    with pytest.raises(CannotRead, match=f"cannot read .*{name}.*{os.strerror(number)}"):
        MaskCache(masks)
    with pytest.raises(CannotRead) as raised:
        run("verify", masks)
    assert "remove" not in str(raised.value) and "damaged" not in str(raised.value)


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("lost", [True, False])
def test_no_sound_shard_is_made_again(masks, monkeypatch, number, lost):
    before, content = finished_shards(masks), shards(masks)
    if lost:
        (masks / MANIFEST).unlink()
    with monkeypatch.context() as patch:
        refuse(patch, "shard-00003.h5", number)
        with pytest.raises(CannotRead, match="shard-00003.h5"):
            make_tiny_masks(masks.parent / "pictures", masks)
    assert finished_shards(masks) == before
    make_tiny_masks(masks.parent / "pictures", masks)
    assert finished_shards(masks) == before and shards(masks) == content


def test_a_shard_that_somebody_has_locked_is_sound(masks):
    before = finished_shards(masks)
    with open(masks / "shard-00003.h5", "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "nothing is wrong" in run("verify", masks).output
        (masks / MANIFEST).unlink()
        make_tiny_masks(masks.parent / "pictures", masks)
    assert finished_shards(masks) == before and read_manifest(masks)


def test_a_mask_that_cannot_be_read_is_not_damaged(masks, monkeypatch):
    cache = MaskCache(masks)

    def refused(path, flags):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
    monkeypatch.setattr(reader.os, "open", refused)
    with pytest.raises(CannotRead, match="Too many open files.*ulimit -n"):
        cache["001.png"]


def test_other_files_that_cannot_be_read_are_not_damaged(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.pt", {"x": 1})
    (tmp_path / "a.json").write_text("{}")
    refuse(monkeypatch, "a.pt", errno.EIO)
    with pytest.raises(CannotRead, match="a.pt .Input/output error.; the file itself may"):
        load_checkpoint(tmp_path / "a.pt")
    with pytest.raises(CannotRead):  # passed over, it would be trained again and replaced
        list(stored_classifiers(tmp_path))
    refuse(monkeypatch, "a.json", errno.EACCES)
    with pytest.raises(CannotRead, match="a.json .Permission denied.*allow reading"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"rubbish\n", b"", b"\x80\x02]q\x00.", b"PK\x03\x04" * 9])
def test_a_damaged_checkpoint_is_one_sentence_whatever_torch_raises(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match="a.pt is not a checkpoint.*make or fetch it again"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_named_with_the_remedy(tmp_path, monkeypatch, number):
    def refused(*arguments):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(fcntl, "lockf", refused)
    said = []
    with pytest.raises(SystemRefusal) as raised, write_lock(tmp_path / "a", notify=said.append):
        pass
    sentence = str(raised.value)
    assert sentence.startswith(f"cannot lock the folder {tmp_path / 'a'} ({os.strerror(number)})")
    assert "--cache" in sentence and said == []
