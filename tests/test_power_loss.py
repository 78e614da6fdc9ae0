"""What is under a final name survives a power cut: synced, then renamed, then its folder synced.

A recorder takes the place of the system calls. A rename is right only if its file has been synced
and not touched since; a file that says "all of it is there" may only be renamed once everything
before it is safe; and in the end nothing may lie in the cache that came there in another way.
"""

import os
from pathlib import Path

import pytest

from tests.examples import TINY, run, write_inputs

TRAINING = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8"]
LAST = {"manifest.json", "report.html"}  # written once all that they speak of is there


class Recorder:
    """Watches ``os.fsync``, ``os.replace`` and ``os.mkdir``, and checks each rename."""

    def __init__(self, monkeypatch):
        self.synced, self.unsafe, self.safe, self.problems = {}, {}, set(), []
        self.calls = {name: getattr(os, name) for name in ("fsync", "replace", "mkdir")}
        for name in self.calls:
            monkeypatch.setattr(os, name, getattr(self, name))

    def fsync(self, descriptor):
        self.calls["fsync"](descriptor)
        held = os.fstat(descriptor)
        self.synced[held.st_ino] = (held.st_size, held.st_mtime_ns)
        for path in [path for path, folder in self.unsafe.items() if folder == held.st_ino]:
            del self.unsafe[path]

    def replace(self, source, target, **options):
        held = os.stat(source)
        if self.synced.get(held.st_ino) != (held.st_size, held.st_mtime_ns):
            self.problems.append(f"{target} is renamed before it is synced")
        if Path(target).name in LAST and self.unsafe:
            self.problems.append(f"{target} is there before {sorted(self.unsafe)} is safe")
        self.calls["replace"](source, target, **options)
        self.unsafe[str(target)] = os.stat(Path(target).parent).st_ino
        self.safe.add(held.st_ino)

    def mkdir(self, path, *arguments, **options):
        self.calls["mkdir"](path, *arguments, **options)
        self.unsafe[str(path)] = os.stat(Path(path).parent).st_ino

    def check(self, folder):
        """Nothing is wrong, nothing is still unsafe, and no file came there in another way."""
        assert self.problems == [] and self.unsafe == {}
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert found and [path for path in found if path.stat().st_ino not in self.safe
                          and path.name != ".lock"] == []


@pytest.fixture
def recorder(monkeypatch):
    return Recorder(monkeypatch)


def test_every_command_leaves_only_what_survives(tmp_path, recorder):
    write_inputs(tmp_path)
    recorder.unsafe.clear()  # the inputs are not ours
    out = tmp_path / "out"
    inputs = ["--data", tmp_path / "cub", "--background", tmp_path / "backgrounds",
              "--cache", out, *TINY]
    for words in (["train-bc", *inputs], ["masks", *inputs], ["masks", *inputs, "--delta", 0.7],
                  ["train-ct", *inputs, *TRAINING]):
        run(*words)
        recorder.check(out)
    [folder] = (out / "ct").iterdir()
    [masks] = (out / "masks").iterdir()
    for words in (["evaluate", folder], ["inspect", masks],
                  ["export-scoremaps", folder, "--out", out / "maps"]):
        run(*words, "--cache", out)
        recorder.check(out)
    run("check-backgrounds", tmp_path / "backgrounds", *inputs[:2], *inputs[4:])
    recorder.check(out)


@pytest.mark.parametrize("write", [
    lambda path: path.write_text("never synced"),
    lambda path: (path.with_suffix(".tmp").write_text("x"),
                  os.replace(path.with_suffix(".tmp"), path))])
def test_the_recorder_notices(tmp_path, recorder, write):
    write(tmp_path / "a")
    with pytest.raises(AssertionError):
        recorder.check(tmp_path)
