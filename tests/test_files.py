import errno
import pickle
import resource

import pytest
import torch

from common.files import load_checkpoint, read_json, replacing, save_checkpoint, write_json
from common.system_errors import CannotRead, CannotWrite, cannot_read


def test_replacing_leaves_the_old_file_when_the_body_fails(tmp_path):
    path = tmp_path / "value.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_passes_on_what_the_body_could_not_read(tmp_path):
    refusal = cannot_read(tmp_path / "shard.h5", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(CannotRead, match="cannot read .*shard.h5"):
        with replacing(tmp_path / "coco.json") as temporary:
            temporary.write_text("half")
            raise refusal
    assert not list(tmp_path.iterdir())


def test_the_same_value_gives_the_same_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [2], "b": 1}


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match="a.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_checkpoints_come_back(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"tensor": torch.arange(3), "about": {"x": 1.5}})
    loaded = load_checkpoint(tmp_path / "c.pt")
    assert loaded["tensor"].tolist() == [0, 1, 2] and loaded["about"] == {"x": 1.5}


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_rubbish_is_said_to_be_damaged(tmp_path):
    (tmp_path / "c.pt").write_text("rubbish\n")
    with pytest.raises(ValueError, match=r"c.pt is not a checkpoint .* \(it is damaged, or holds"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_hostile_pickle_runs_nothing(tmp_path):
    victim = tmp_path / "victim"
    torch.save({"x": Hostile(victim)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="c.pt is not a checkpoint that can be trusted"):
        load_checkpoint(tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(pickle.dumps(Hostile(victim)))
    with pytest.raises(ValueError, match="d.pt is not a checkpoint"):
        load_checkpoint(tmp_path / "d.pt")
    assert not victim.exists()


def test_a_refusal_does_not_advise_to_run_what_a_file_holds(tmp_path):
    torch.save({"x": Hostile(tmp_path / "victim")}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="holds more than tensors") as raised:
        load_checkpoint(tmp_path / "c.pt")
    assert "weights_only" not in str(raised.value) and "option" not in str(raised.value)


def test_a_truncated_checkpoint_is_named(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"tensor": torch.arange(1000)})
    content = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "c.pt").write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match="c.pt is not a checkpoint"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_checkpoint_that_the_disk_does_not_take_is_one_sentence(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"x": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(CannotWrite) as raised:
            save_checkpoint(tmp_path / "c.pt", {"tensor": torch.arange(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    number, sentence = raised.value.errno, str(raised.value)
    assert number == errno.EFBIG
    assert sentence.startswith(f"cannot write c.pt into the folder {tmp_path} (File too large)")
    assert load_checkpoint(tmp_path / "c.pt") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
