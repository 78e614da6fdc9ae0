"""Who may import whom, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "common": set(),
    "stage1_bc": {"common"},
    "stage2_ct": {"common"},
    "evaluation": {"common"},
    "demo": {"common"},
    "benchmarks": {"common", "stage1_bc", "stage2_ct", "evaluation"},
    "pipelines": {"benchmarks", "common", "stage1_bc", "stage2_ct", "evaluation", "demo"},
}


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    sources = list((ROOT / package).rglob("*.py"))
    assert sources
    for path in sources:
        ours = set(imported_packages(path)) & set(MAY_IMPORT)
        assert ours <= MAY_IMPORT[package] | {package}, path
