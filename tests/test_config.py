import dataclasses

import pytest

from common.config import ConfigError, digest, from_dict, lookup, override, to_dict


@dataclasses.dataclass(frozen=True)
class Settings:
    epochs: int = 1
    rate: float = 0.1
    name: str = "a"
    flip: bool = False
    layers: tuple[int, ...] = (1, 2)
    limit: int | None = None


def test_override_types_each_field_from_the_dataclass():
    changed = override(Settings(), ["epochs=3", "rate=1e-3", "name=b=c", "flip=true",
                                    "layers=4,5,6", "limit=7"])
    assert changed == Settings(3, 1e-3, "b=c", True, (4, 5, 6), 7)
    assert override(changed, ["limit=none"]).limit is None


@pytest.mark.parametrize("assignment, words", [
    ("epoch=3", ["unknown field 'epoch'", "did you mean 'epochs'"]),
    ("epochs=three", ["epochs=three", "int"]),
    ("flip=maybe", ["flip=maybe", "bool"]),
    ("epochs", ["field=value"]),
])
def test_override_refuses_with_a_reason(assignment, words):
    with pytest.raises(ConfigError) as error:
        override(Settings(), [assignment])
    assert all(word in str(error.value) for word in words)


def test_settings_survive_the_way_through_json():
    settings = Settings(layers=(9,), limit=3)
    assert from_dict(Settings, to_dict(settings)) == settings


def test_lookup_names_the_nearest():
    assert lookup("recipe", "paper", {"paper": 1}) == 1
    with pytest.raises(ConfigError, match="unknown recipe 'papre': did you mean 'paper'"):
        lookup("recipe", "papre", {"paper": 1, "default": 2})


def test_digest_depends_on_values_and_not_on_order_of_keys():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
