"""Packages that export names from their modules without importing these first (PEP 562)."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, tuple[str, ...]], inside: bool = True) -> tuple[
        list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """What a package assigns to ``__all__``, ``__getattr__`` and ``__dir__``.

    Args:
        package: its ``__name__``.
        modules: the names that it exports, by the module that defines them.
        inside: whether the modules are the package's own, and named so.
    """
    places = {name: f"{package}.{module}" if inside else module
              for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(places[name]), name)
    return list(places), get, lambda: sorted(places)
