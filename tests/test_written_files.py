"""Whatever is written is whole or absent: every place that writes goes through common.files."""

import ast
import contextlib
import errno
import resource

import numpy as np
import pytest

from common.files import TEMPORARY
from common.system_errors import CannotWrite
from evaluation.scoremaps import write_metadata, write_score_map
from evaluation.truth import Truth
from stage2_ct.run import Run
from tests.test_structure import MODULES

WRITING = {"write_text", "write_bytes", "save", "savez", "savez_compressed", "savetxt", "savefig",
           "imwrite", "imsave", "tofile", "to_csv", "to_json", "dump", "copy", "copy2", "copyfile",
           "copytree", "move", "rename", "replace", "renames", "touch", "link", "symlink",
           "symlink_to", "hardlink_to", "mkstemp", "NamedTemporaryFile", "open", "File", "fdopen"}
MODES = set("wax+")
OURS = ("common.files", "common.mask_cache.hdf5_files")
# What else may write, and why that is safe.
ALLOWED = {
    ("common.locks", "open"): "the lock file stays empty",
    ("common.mask_cache.manifest", "replace"): "moves finished files of a further delta into place",
    ("demo.scenes", "replace"): "moves a finished folder into place",
    ("common.exports.yolo", "symlink_to"): "a link is there or not",
    ("stage1_bc.background_subsets", "symlink_to"): "a link is there or not",
    ("stage1_bc.sanity", "imwrite"): "into a temporary folder of its own",
}


def writes(tree):
    """(name of the call, line) of each call in a module that writes a file by itself."""
    buffers = {target.id for node in ast.walk(tree) if isinstance(node, ast.Assign)
               and "io." in ast.unparse(node.value) for target in node.targets
               if isinstance(target, ast.Name)}  # what is written to memory
    buffers |= {item.optional_vars.id for node in ast.walk(tree) if isinstance(node, ast.With)
                for item in node.items if isinstance(item.optional_vars, ast.Name)
                and ast.unparse(item.context_expr).startswith("replacing(")}  # and what is renamed
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.split(".")[-1]
        given = {ast.unparse(argument) for argument in node.args}
        if name in WRITING and not given & buffers and _writes(called, name, node):
            yield name, node.lineno


def _writes(called, name, node):
    """Whether a call with the name of one that writes does so."""
    if called == name == "write_bytes":  # ours
        return False
    if name in ("open", "File", "fdopen", "NamedTemporaryFile"):
        modes = [argument.value for argument in [*node.args[1:2], *(
            keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
        return called != "Image.open" and any(MODES & set(mode) for mode in modes)
    module = called.split(".")[0]
    if name in ("replace", "copy", "move", "link", "rename", "dump"):
        return module in ("os", "shutil", "json", "pickle", "joblib")
    if name == "save":  # a picture, an array or a checkpoint; our own say so in their names
        return module in ("np", "numpy", "torch", "Image", "cv2") or ".save" in called and (
            "fromarray" in called)
    return True


@pytest.mark.parametrize("package", ["bcct", "common", "stage1_bc", "stage2_ct", "evaluation",
                                     "demo", "pipelines"])
def test_nothing_writes_around_the_module_that_writes_whole_files(package):
    found = {(module, name, line) for module, tree in MODULES.items()
             if module.split(".")[0] == package and module not in OURS
             for name, line in writes(tree) if (module, name) not in ALLOWED}
    assert found == set()


@pytest.mark.parametrize("source", [
    "np.save(path, array)", "open(path, 'w')", "open(path, mode='ab')", "path.write_text('')",
    "path.write_bytes(b'')", "cv2.imwrite(path, picture)", "figure.savefig(path)",
    "Image.fromarray(picture).save(path)", "torch.save(x, path)", "h5py.File(path, 'w')",
    "shutil.copyfile(a, b)", "os.replace(a, b)", "json.dump(x, file)"])
def test_the_list_would_notice(source):
    assert list(writes(ast.parse(source)))


@contextlib.contextmanager
def small_files():
    """No file may grow beyond 2,000 bytes. Not a fixture: pytest's own log is a file at times."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_score_map_is_whole_or_absent(tmp_path):
    write_score_map(tmp_path, "a/small.jpg", np.zeros((4, 4), np.float32))
    with small_files(), pytest.raises(
            CannotWrite, match="cannot write large.jpg.npy into the folder .*/a") as no:
        write_score_map(tmp_path, "a/large.jpg", np.zeros((64, 64), np.float32))
    assert no.value.errno == errno.EFBIG
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["small.jpg.npy"]


def test_metadata_and_logs_are_whole_or_as_before(tmp_path):
    write_metadata(tmp_path, [Truth("a.jpg", ((0, 0, 2, 2),), (4, 4), 0)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with small_files(), pytest.raises(CannotWrite, match="image_ids.txt"):
        write_metadata(tmp_path, [Truth(f"{number:04}.jpg", (), (4, 4), 0)
                                  for number in range(999)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    run = Run(tmp_path / "run")
    run.log({"epoch": 1})
    with small_files(), pytest.raises(CannotWrite, match="log.jsonl"):
        run.log({"epoch": 2, "precision": "x" * 3000})
    assert run.logged() == [{"epoch": 1}]
    assert not list(tmp_path.rglob("*" + TEMPORARY))
