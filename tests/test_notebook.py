"""The notebook runs as it stands, is short, and is kept without outputs."""

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from common.mask_cache.reader import MaskCache
from tests.examples import make_masks, write_inputs
from tests.test_structure import MAY_IMPORT, imports

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "inspect_masks.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs_and_without_absolute_paths(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert '"/' not in cell.source and "'/" not in cell.source


def test_of_this_project_it_imports_bcct_only(notebook):
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    imported = {name.split(".")[0] for name in imports(ast.parse(code))}
    assert imported & MAY_IMPORT.keys() == {"bcct"}


def test_it_runs_and_shows_every_picture(notebook, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    masks = make_masks(tmp_path, "--recipe", "guided")
    monkeypatch.setenv("BCCT_MASKS", masks)
    monkeypatch.setenv("BCCT_OTHER_MASKS", make_masks(tmp_path, "--recipe", "blurred"))
    monkeypatch.setenv("BCCT_DATA", str(tmp_path / "cub"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    NotebookClient(notebook, timeout=300, kernel_name="python3",
                   resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream"
                      and output.name == "stdout")
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert MaskCache(masks).key in printed and "over 8 images" in printed
    assert len(shown) == 4  # at random, histogram, worst and best, side by side
