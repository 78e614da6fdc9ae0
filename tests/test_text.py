"""Text as other people's computers write it."""

import unicodedata

import pytest

from common.text import composed, few, numbered_lines, quoted, spellings

TEXT = "Möwe\n鳥 b\n"


@pytest.mark.parametrize("content", [
    TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), TEXT.encode("utf-16-be"),
    TEXT.replace("\n", "\r\n").encode(), TEXT.replace("\n", "\r").encode(),
    unicodedata.normalize("NFD", TEXT).encode(), TEXT.strip().encode(),
    TEXT.replace("b", "b \t").encode()])
def test_lines(tmp_path, content):
    if content == TEXT.encode("utf-16-be"):
        content = b"\xfe\xff" + content
    (tmp_path / "a.txt").write_bytes(content)
    assert list(numbered_lines(tmp_path / "a.txt")) == [(1, "Möwe"), (2, "鳥 b")]


def test_blank_lines_count_but_are_not_given(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\n \na\n\t\n\nb")
    assert list(numbered_lines(tmp_path / "a.txt")) == [(3, "a"), (6, "b")]


def test_other_encodings_pass_through(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    (_, line), = numbered_lines(tmp_path / "a.txt")
    assert line.encode("utf-8", "surrogateescape") == b"caf\xe9" and composed(line) == line


def test_rare_separators_stay_inside_a_name(tmp_path):
    (tmp_path / "a.txt").write_bytes("a\u2028b\x0cc\n".encode())
    assert list(numbered_lines(tmp_path / "a.txt")) == [(1, "a\u2028b\x0cc")]


def test_forms():
    decomposed = unicodedata.normalize("NFD", "Möwe")
    assert composed(decomposed) == composed("Möwe") == "Möwe" and composed("a") == "a"
    assert spellings(decomposed) == [decomposed, "Möwe"]
    assert spellings("Möwe") == ["Möwe", decomposed] and spellings("a") == ["a"]


def test_messages():
    assert quoted("a\nb") == "'a\\nb'"
    assert few("abc", 2) == "'a', 'b' and 1 more" and few("ab", 2) == "'a', 'b'"
