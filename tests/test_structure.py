"""The shape of the code: imports, names, lengths and annotations, read from the sources."""

import ast
import collections
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "common": set(),
    "stage1_bc": {"common"},
    "stage2_ct": {"common"},
    "evaluation": {"common"},
    "bcct": {"common", "stage1_bc", "stage2_ct", "evaluation"},
    "demo": {"common"},
    "benchmarks": {"common", "stage1_bc", "stage2_ct", "evaluation"},
    "pipelines": {"bcct", "benchmarks", "common", "stage1_bc", "stage2_ct", "evaluation", "demo"},
}
PUBLIC = ("common", "stage1_bc", "stage2_ct", "evaluation", "bcct")  # what users import
PACKAGES = ("bcct", "common", "common.mask_cache", "stage1_bc", "stage1_bc.background_check",
            "stage2_ct", "stage2_ct.rivals", "evaluation")
LONGEST = 40  # lines of code in a function
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8"))
           for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))}


def name_of(path):
    """Dotted name of a module or package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): tree for path, tree in SOURCES.items()}


def imports(tree, skip=()):
    """Dotted names that a module imports anywhere in it; of ``from a import b``, a.b too."""
    for node in ast.walk(tree):
        if node in skip:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def for_type_checkers(tree):
    """The nodes below ``if TYPE_CHECKING:``, which never run."""
    return {child for node in ast.walk(tree) if isinstance(node, ast.If)
            and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for child in ast.walk(node)}


def public_definitions(tree):
    """Public classes and functions at the top level of a module."""
    return [node for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_"]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    for module, tree in MODULES.items():
        if module.split(".")[0] == package:
            ours = {name.split(".")[0] for name in imports(tree)} & set(MAY_IMPORT)
            assert ours <= MAY_IMPORT[package] | {package}, module


def test_no_command_imports_another_command():
    commands = {module for module, tree in MODULES.items()
                if module.startswith("pipelines.") and not module.startswith("pipelines.jobs.")
                and any(node.name == "command" for node in public_definitions(tree))}
    assert len(commands) > 10
    found = {(module, name) for module in commands for name in imports(MODULES[module])
             if name in commands or name == "pipelines.__main__"}
    assert not found


def test_click_is_imported_in_pipelines_only():
    found = {module for module, tree in MODULES.items() if "click" in set(imports(tree))}
    assert found and all(module.startswith("pipelines") for module in found)


def test_there_is_no_import_cycle():
    """Imports inside functions count; running a package's ``__init__`` does not."""
    graph = {module: {name for name in imports(tree, for_type_checkers(tree))
                      if name in MODULES and name != module}
             for module, tree in MODULES.items()}
    while leaves := [module for module, needed in graph.items() if not needed & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph, f"in a cycle, or importing one: {sorted(graph)}"


def test_a_public_name_is_defined_in_one_place():
    places = collections.defaultdict(list)
    for module, tree in MODULES.items():
        for node in public_definitions(tree):
            if node.name != "command":
                places[node.name].append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_file_name_occurs_once():
    counts = collections.Counter(path.name for path in SOURCES)
    del counts["__init__.py"], counts["__main__.py"]
    assert [name for name, count in counts.items() if count > 1] == []


def lines_of_code(function):
    """Lines of a function that hold code: without its decorators and docstring, comments and
    blank lines."""
    body = function.body[ast.get_docstring(function) is not None:]
    nodes = [function.args, *([function.returns] if function.returns else []), *body]
    lines = {function.lineno}
    for node in (inner for node in nodes for inner in ast.walk(node) if hasattr(inner, "lineno")):
        lines |= {node.lineno, node.end_lineno}
    return len(lines)


def test_no_function_is_longer_than_a_screen():
    lengths = {f"{module}.{node.name}": lines_of_code(node) for module, tree in MODULES.items()
               for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def unannotated(function):
    """Parameters of a function without annotation, and "return"."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs,
             *filter(None, (arguments.vararg, arguments.kwarg))]
    missing = [one.arg for one in named
               if one.annotation is None and one.arg not in ("self", "cls")]
    if function.returns is None and function.name != "__init__":
        missing.append("return")
    return missing


def public_functions(tree):
    """(name, function) of the public functions and methods of a module; ``__init__`` is one."""
    for node in public_definitions(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and (
                    method.name[0] != "_" or method.name == "__init__"):
                yield f"{node.name}.{method.name}", method


@pytest.mark.parametrize("package", PUBLIC)
def test_public_functions_are_annotated(package):
    found = {f"{module}.{name}": missing for module, tree in MODULES.items()
             if module.split(".")[0] == package for name, function in public_functions(tree)
             if (missing := unannotated(function))}
    assert found == {}


def test_packages_are_imported_without_torch():
    script = f"import sys, {', '.join(PACKAGES)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_gives_the_names_that_it_lists(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        getattr(module, "no_such_name")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_names_that_a_package_gives(package):
    seen = {alias.name for node in for_type_checkers(MODULES[package])
            if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(importlib.import_module(package).__all__)
