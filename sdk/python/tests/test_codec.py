from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NewType, Optional, TypedDict
from uuid import UUID

import pydantic
import pytest

from goconductor import CompensationInput, RawJSON
from goconductor._codec import MalformedJSONError, MismatchError, decode, encode


class Colour(enum.Enum):
    RED = "red"


class Place(TypedDict):
    city: str


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Order:
    id: str
    amount: Decimal
    at: datetime | None = None
    note: Optional[str] = None  # noqa: UP045
    tags: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"


class Model(pydantic.BaseModel):
    n: int


Amount = NewType("Amount", int)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Any, '{"n":9223372036854775807}', {"n": 9223372036854775807}),
        (int, "-9223372036854775808", -9223372036854775808),
        (float, "1", 1.0),
        (Decimal, "0.10000000000000000001", Decimal("0.10000000000000000001")),
        (Colour, '"red"', Colour.RED),
        (Amount, "3", 3),
        (Place, '{"city":"Zürich"}', {"city": "Zürich"}),
        (Tree, '{"name":"a","children":[{"name":"b"}]}', Tree("a", [Tree("b")])),
        (Model, '{"n":1}', Model(n=1)),
        (Sequence[int], "[1,2]", [1, 2]),
        (dict[str, list[int]], '{"a":[1]}', {"a": [1]}),
        (int | None, "null", None),
        (None, "", None),
        (UUID, '"00000000-0000-7000-8000-000000000000"', UUID("00000000-0000-7000-8000-000000000000")),
        (
            Order,
            '{"id":"o","amount":1.10,"at":"2026-01-02T03:04:05Z","tags":["x"],"more":1}',
            Order("o", Decimal("1.10"), datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), tags=("x",)),
        ),
        (
            CompensationInput[Order, Model],
            '{"input":{"id":"o","amount":1},"output":null}',
            CompensationInput(Order("o", Decimal(1)), None),
        ),
    ],
)
def test_json_becomes_the_type(kind: Any, text: str, expected: Any) -> None:
    decoded = decode(text, kind)
    assert decoded == expected
    assert type(decoded) is type(expected)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (int, "true", "expected an integer"),
        (int, "1.5", "expected an integer"),
        (Order, '{"id":"o"}', "the field amount is missing"),
        (Order, '{"id":"o","amount":1,"kind":"c"}', "kind: expected one of"),
        (list[int], '[1,"2"]', "1: expected an integer, found str"),
        (int | str, "[]", "expected an integer, found list or expected a string"),
        (Colour, '"blue"', "'blue' is not a valid Colour"),
        (Model, '{"n":"x"}', "valid integer"),
    ],
)
def test_json_of_another_form_is_refused(kind: Any, text: str, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        decode(text, kind)


@pytest.mark.parametrize("text", ["{", "NaN", "1 2", "[" * 100_000])
def test_malformed_json_is_refused(text: str) -> None:
    with pytest.raises(MalformedJSONError):
        decode(text, Any)


def test_values_become_json() -> None:
    value = {
        "order": Order("o", Decimal("1.10")),
        "model": Model(n=1),
        "colour": Colour.RED,
        "text": "Grüße <&>",
        "set": {1},
    }
    expected = (
        '{"order":{"id":"o","amount":"1.10","at":null,"note":null,"tags":[],"kind":"a"},"model":{"n":1},'
        '"colour":"red","text":"Grüße <&>","set":[1]}'
    )
    assert encode(value) == expected
    assert encode(RawJSON('{"n": 1.0}')) == '{"n": 1.0}'
    for invalid in (float("nan"), timedelta(1), "\ud800", {(1, 2): 3}):
        with pytest.raises((TypeError, ValueError)):
            encode(invalid)


class Aliased(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")
    amount: Decimal
    rate: float = 0.0


def test_models_of_pydantic_keep_their_names_and_digits() -> None:
    text = '{"orderId":"o","amount":12345678901234567.89,"rate":1.5}'
    model = decode(text, Aliased)
    assert model == Aliased(orderId="o", amount=Decimal("12345678901234567.89"), rate=1.5)
    assert decode(encode(model), Aliased) == model


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be positive")


def test_values_that_a_type_refuses_are_mismatches() -> None:
    for kind, text, message in (
        (Positive, '{"n":0}', "n must be positive"),
        (Decimal, '"NaN"', "expected a number"),
        (float, "1" + "0" * 400, "too large"),
    ):
        with pytest.raises(MismatchError, match=message):
            decode(text, kind)


def test_integers_of_unions_keep_their_digits() -> None:
    assert decode("9007199254740993", float | int) == 9007199254740993
    assert decode("1.5", float | int) == 1.5


def test_names_become_the_type_of_the_key() -> None:
    assert decode(encode({1: "a"}), dict[int, str]) == {1: "a"}
    assert decode('{"red":1}', dict[Colour, int]) == {Colour.RED: 1}
    with pytest.raises(MismatchError, match="expected an integer"):
        decode('{"a":1}', dict[int, int])


if sys.version_info >= (3, 11):
    from typing import NotRequired, Required

    class Parcel(TypedDict):
        to: str
        note: NotRequired[str]

    class Partial(TypedDict, total=False):
        to: Required[str]
        note: str

    @pytest.mark.parametrize("kind", [Parcel, Partial])
    def test_markers_of_typed_dicts_count(kind: Any) -> None:
        assert decode('{"to":"x"}', kind) == {"to": "x"}
        with pytest.raises(MismatchError, match="the field to is missing"):
            decode('{"note":"x"}', kind)


@pytest.mark.parametrize("fraction", ["", ".1", ".123456", ".123456789"])
def test_times_have_any_number_of_digits(fraction: str) -> None:
    expected = datetime(2026, 1, 2, 3, 4, 5, int(fraction[1:7].ljust(6, "0")), timezone.utc)
    assert decode(f'"2026-01-02T03:04:05{fraction}Z"', datetime) == expected
