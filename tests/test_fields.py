"""The checks of fields by their annotations."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from typing import Annotated, Any, ClassVar, Literal

import pytest

from condinst import CondInstConfig
from condinst.data.augmentation import AugmentationConfig
from condinst.engine.config import TrainingConfig
from condinst.fields import (
    LARGEST_INT,
    Above,
    AtLeast,
    AtMost,
    Below,
    Between,
    OldName,
    Within,
    check_field,
    check_fields,
    rename_old_fields,
)


@dataclasses.dataclass(frozen=True)
class Example:
    flag: bool = False
    count: Annotated[int, AtLeast(1), AtMost(9, "as many as fingers")] = 1
    seed: int = 0
    factor: Annotated[float, AtLeast(0), Below(1)] = 0.5
    share: Annotated[float, Within(0, 1)] = 0.5
    chance: Annotated[float, Between(0, 1)] = 0.5
    radius: Annotated[float, Above(0)] = 1.0
    kind: Literal["plain", "fancy"] = "plain"
    levels: Literal[0, 2] = 2
    sizes: tuple[Annotated[int, AtLeast(1)], ...] = (1,)
    ids: tuple[int | str, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)

    OLD_NAMES: ClassVar[dict[str, OldName]] = {
        "number": OldName("count"),
        "fancy": OldName("kind", {"yes": "fancy", "no": "plain"}),
    }

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("flag", 1, TypeError, "expected bool, got int 1"),
        ("count", True, TypeError, "expected int, got bool True"),
        ("count", 0, ValueError, "expected at least 1, got 0"),
        ("count", 10, ValueError, "expected at most 9 (as many as fingers), got 10"),
        ("seed", LARGEST_INT + 1, ValueError, f"expected at most {LARGEST_INT}, got 9223372036854775808"),
        ("factor", "x", TypeError, "expected float, got str 'x'"),
        ("factor", -1, ValueError, "expected a number of at least 0, got -1.0"),
        ("factor", 1, ValueError, "expected a number below 1, got 1.0"),
        ("factor", float("nan"), ValueError, "expected a finite number, got nan"),
        ("factor", 10**400, ValueError, "expected a finite number, got 1000"),
        ("share", 1.5, ValueError, "expected a number in 0..1, got 1.5"),
        ("chance", 0.0, ValueError, "expected a number between 0 and 1, got 0.0"),
        ("radius", 0.0, ValueError, "expected a number above 0, got 0.0"),
        ("kind", "other", ValueError, "expected one of plain, fancy, got 'other'"),
        ("kind", 3, TypeError, "expected str, got int 3"),
        ("levels", 1, ValueError, "expected one of 0, 2, got 1"),
        ("levels", False, TypeError, "expected int, got bool False"),
        ("sizes", 3, TypeError, "expected tuple, got int 3"),
        ("sizes", (1, 0), ValueError, "expected at least 1, got 0"),
        ("ids", (1, 2.0), TypeError, "expected int or str, got float 2.0"),
        ("pair", (1.0,), ValueError, "expected 2 numbers, got (1.0,)"),
    ],
)
def test_a_value_that_is_not_allowed(name: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Example(**{name: value})
    assert str(caught.value).startswith(f"{name}: {message}")
    with pytest.raises(error) as caught:
        check_field(Example, name, value)
    assert str(caught.value).startswith(f"{name}: {message}")


def test_an_unknown_field() -> None:
    with pytest.raises(ValueError, match="rad: not a field of Example; did you mean 'radius'"):
        check_field(Example, "rad", 1)


def test_lists_and_whole_numbers_are_converted() -> None:
    example = Example(factor=0, sizes=[1, 2], ids=[1, "a"], pair=[1, 2])  # type: ignore[arg-type]
    assert type(example.factor) is float and [type(number) for number in example.pair] == [float, float]
    assert (example.sizes, example.ids, example.pair) == ((1, 2), (1, "a"), (1.0, 2.0))
    assert check_field(Example, "pair", [1, 2]) == (1.0, 2.0)


def test_old_names() -> None:
    old = {"number": 3, "fancy": "yes", "seed": 1, "unknown": 0}
    assert rename_old_fields(Example, old) == {"count": 3, "kind": "fancy", "seed": 1, "unknown": 0}
    with pytest.raises(ValueError, match="fancy: expected one of yes, no, got 'maybe'"):
        rename_old_fields(Example, {"fancy": "maybe"})
    with pytest.raises(ValueError, match="fancy: expected one of yes, no, got 1"):
        rename_old_fields(Example, {"fancy": 1})
    with pytest.raises(ValueError, match="number: is the old name of count; expected one of the two, got both"):
        rename_old_fields(Example, {"number": 3, "count": 3})


@pytest.mark.parametrize("kind", [CondInstConfig, TrainingConfig, AugmentationConfig])
def test_each_field_has_a_sentence(kind: type[Any]) -> None:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    described = {
        statement.target.id
        for statement, following in zip(body.body, body.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and str(following.value.value).endswith(".")
    }
    own = {field.name for field in dataclasses.fields(kind)} & inspect.get_annotations(kind).keys()
    assert described >= own
