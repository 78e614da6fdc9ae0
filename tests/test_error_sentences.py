"""What ends a command is one sentence; what happens to its output never ends it."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.batch_loading import SmallSharedMemory
from common.error_sentences import in_words, warning_in_words
from common.system_errors import CannotWrite
from pipelines import __main__ as program

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys, click
from pipelines import __main__ as program
@click.command()
def work():
    print("first", flush=True)
    sys.stdin and sys.stdin.read()  # until whoever reads the output has gone
    for _ in range(3):
        click.echo("more"), click.echo("a word", err=True)
    open(FILE, "w").write("done")
    REST
program.cli.get_command = lambda context, name: work
program.main()
"""


def start(tmp_path, redirection="", rest=""):
    """A shell that runs a command which writes a file after it has printed."""
    script = SCRIPT.replace("FILE", repr(str(tmp_path / "file"))).replace("REST", rest)
    return subprocess.Popen(
        ["sh", "-c", f'exec "$0" -c "$1" work {redirection}', sys.executable, script], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&-", "<&-", "2>/dev/full"])
def test_closed_and_full_streams_end_no_run(tmp_path, redirection):
    process = start(tmp_path, redirection)
    process.communicate(b"", 60)
    assert process.returncode == 0 and (tmp_path / "file").read_text() == "done"


def test_a_reader_who_leaves_ends_no_run(tmp_path):
    process = start(tmp_path)
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    assert process.wait(60) == 0 and (tmp_path / "file").read_text() == "done"


def test_output_that_is_lost_on_a_full_disk_is_said_at_the_end(tmp_path):
    process = start(tmp_path, ">/dev/full")
    _, said = process.communicate(b"", 60)
    assert process.returncode == 1 and (tmp_path / "file").read_text() == "done"
    assert b"not all of the output could be written (No space left on device)" in said


def test_an_unexpected_error_is_one_sentence_and_debug_shows_where(tmp_path):
    process = start(tmp_path, rest="raise RuntimeError('first line\\nsecond line')")
    _, said = process.communicate(b"", 60)
    assert process.returncode == 1
    assert said.decode().splitlines()[-1] == (
        "bcct: first line (RuntimeError; bcct --debug COMMAND ... shows where it came up)")
    assert b"Traceback" not in said
    result = subprocess.run([sys.executable, "-m", "pipelines", "--debug", "verify", "nowhere"],
                            cwd=ROOT, capture_output=True, check=False)
    assert b"Traceback" in result.stderr and result.returncode == 1


@pytest.mark.parametrize("error, words", [
    (CannotWrite(errno.ENOSPC, "cannot write a"), "cannot write a"),
    (OSError(errno.ENOLCK, "No locks available"), "No locks available"),
    (PermissionError(errno.EACCES, "Permission denied", "a.pt"), "a.pt: Permission denied"),
    (MemoryError(), "the memory does not suffice (MemoryError)"),
    (torch.OutOfMemoryError("CUDA out of memory.\nmore"), "--inference-batch-size"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "does not suffice"),
    (KeyError("no image 'x'"), "no image 'x' (KeyError"),
    (ValueError("all of\nit"), "all of\nit")])
def test_errors_in_words(error, words):
    assert words in in_words(error) and "Errno" not in in_words(error)


def test_our_own_warnings_are_a_sentence():
    ours = warning_in_words(SmallSharedMemory("too little"), SmallSharedMemory, "a.py", 7)
    assert ours == "bcct: too little\n"
    assert warning_in_words("x", UserWarning, "a.py", 7) == "a.py:7: UserWarning: x\n"


def test_main_lets_no_traceback_out(monkeypatch):
    def fail(**options):
        raise AssertionError
    monkeypatch.setattr(program, "cli", fail)
    monkeypatch.setattr(program, "make_patient", lambda: [])
    with pytest.raises(SystemExit, match="AssertionError"):
        program.main()
