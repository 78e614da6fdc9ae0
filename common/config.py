"""Settings are frozen dataclasses; this module overrides, stores and digests them."""

import ast
import dataclasses
import difflib
import hashlib
import inspect
import itertools
import json
import math
import textwrap
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

LARGEST_SEED = 2 ** 63 - 1  # that NumPy's and torch's generators both take
Config = TypeVar("Config")
Value = TypeVar("Value")


class ConfigError(ValueError):
    """A setting that does not exist or does not parse; the message names valid ones."""


def override(config: Config, assignments: Iterable[str]) -> Config:
    """Replace fields of a frozen dataclass by ``field=value`` texts, typed from the dataclass.

    Args:
        config: instance of a dataclass.
        assignments: iterable of str such as ``"epochs=3"``; tuples are written ``"4,7,9"`` and
            the absent value of an optional field ``"none"``.

    Returns:
        A new instance; its class checks the values it was given.

    Raises:
        ConfigError: unknown field (names the nearest one) or a value of another type.
    """
    field_types = typing.get_type_hints(type(config))
    changes = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"'{assignment}' is not of the form field=value")
        if name not in field_types:
            raise ConfigError(unknown("field", name, field_types))
        try:
            changes[name] = parse(text, field_types[name])
        except ValueError as error:
            raise ConfigError(
                f"{name}={text}: expected {_type_name(field_types[name])}") from error
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def parse(text: str, kind: Any) -> Any:
    """One value of the type ``kind`` from its text; ValueError when it is not one."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        return None if text.lower() == "none" else parse(text, members[0])
    if origin is tuple:
        member = typing.get_args(kind)[0]
        return tuple(parse(part, member) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    value = kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def lookup(kind: str, name: str, table: Mapping[str, Value]) -> Value:
    """``table[name]``, or a ConfigError naming the nearest key and all the others."""
    if name not in table:
        raise ConfigError(unknown(kind, name, table))
    return table[name]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not among the known ones."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"unknown {kind} '{name}': {hint}known are {', '.join(sorted(known))}"


def check_choice(config: Any, field: str, allowed: Collection[str]) -> None:
    """ConfigError unless the field of a dataclass holds one of the allowed words."""
    value = getattr(config, field)
    if value not in allowed:
        raise ConfigError(f"{field} is '{value}'; it must be one of {', '.join(allowed)}")


def check_ranges(config: Any, **ranges: tuple[float, float]) -> None:
    """ConfigError unless each field holds a number between two others, both included.

    Args:
        config: a dataclass.
        ranges: (smallest, largest) by the fields' names.
    """
    for field, (smallest, largest) in ranges.items():
        value = getattr(config, field)
        if not smallest <= value <= largest:  # so that NaN is refused too
            limit = f"at least {smallest}" if largest == math.inf else (
                f"from {smallest} to {largest}")
            raise ConfigError(f"{field} is {value}; it must be {limit}")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain dicts, lists and numbers, as JSON would give them back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """The dataclass that ``to_dict`` made ``values`` from; ConfigError on unknown fields."""
    field_types = typing.get_type_hints(config_class)
    arguments = {}
    for name, value in values.items():
        kind = lookup("field", name, field_types)
        arguments[name] = tuple(value) if typing.get_origin(kind) is tuple else value
    return config_class(**arguments)


def field_help(config: Any) -> list[tuple[str, str]]:
    """What ``override`` can set: (name=value, what it means) of each field.

    The meaning is the string literal after the field, up to its first full stop.

    Args:
        config: instance of a dataclass, whose values are shown.
    """
    source: Any = ast.parse(textwrap.dedent(inspect.getsource(type(config)))).body[0]
    body: list[Any] = source.body
    meanings = {field.target.id: ast.literal_eval(text.value)
                for field, text in itertools.pairwise(body)
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)}
    return [(f"{field.name}={_shown(getattr(config, field.name))}",
             " ".join(meanings.get(field.name, "").split()).split(". ")[0].rstrip("."))
            for field in dataclasses.fields(config)]


def _shown(value):
    """A value as ``override`` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def digest(*parts: Any) -> str:
    """Hex SHA-256 of values that JSON can hold; equal values give equal digests anywhere."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _type_name(kind):
    return kind.__name__ if isinstance(kind, type) else str(kind)
