"""Conversion between JSON and the types of actions."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import json
import re
import types
import typing
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

Convert = Callable[[Any], Any]


class RawJSON(str):
    """A text that is JSON already. It is neither converted nor checked, so that numbers keep their digits.

    It must be the whole value. Within another value, it is a string.
    """


class MalformedJSONError(ValueError):
    """A text is not JSON."""


class MismatchError(ValueError):
    """A value of JSON is not of the expected type."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(text: str, *, decimals: bool = False) -> Any:
    """Parse JSON. Empty text is null."""
    try:
        parse_float = Decimal if decimals else None
        return json.loads(text or "null", parse_constant=_refuse_constant, parse_float=parse_float)
    except (ValueError, RecursionError) as error:
        raise MalformedJSONError(f"the text is not valid JSON: {error}") from error


def encode(value: Any) -> str:
    """Convert a value to JSON. It raises ValueError or TypeError if that is impossible."""
    if isinstance(value, RawJSON):
        return str(value) or "null"
    try:
        text = json.dumps(value, default=_simplify, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except RecursionError as error:
        raise ValueError("the value is nested too deeply") from error
    return text


def _simplify(value: Any) -> Any:
    """Convert a value that json does not know to one that it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # a model of Pydantic
        return value.model_dump(mode="json", by_alias=True)  # the names that the model accepts
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (set, frozenset, collections.abc.Iterator)):
        return list(value)
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be converted to JSON")


class Decoder:
    """Converts JSON to a type."""

    def __init__(self, kind: Any) -> None:
        self._decimals = _mentions_decimal(kind, {})
        self._convert = _converter(kind)

    def __call__(self, text: str) -> Any:
        """Raise MalformedJSONError or MismatchError if the text cannot be converted."""
        return self._convert(loads(text, decimals=self._decimals))


def decode(text: str, kind: Any) -> Any:
    """Convert JSON to a type."""
    return Decoder(kind)(text)


def _mentions_decimal(kind: Any, seen: dict[int, Any]) -> bool:
    if kind is Decimal:
        return True
    if id(kind) in seen:
        return False
    seen[id(kind)] = kind  # a reference, so that no other type gets the id
    inner = list(typing.get_args(kind))
    origin = typing.get_origin(kind) or kind
    if dataclasses.is_dataclass(origin) or typing.is_typeddict(origin):
        inner += typing.get_type_hints(origin).values()
    if hasattr(origin, "model_fields"):  # a model of Pydantic
        inner += [each.annotation for each in origin.model_fields.values()]
    return any(_mentions_decimal(each, seen) for each in inner)


def _expect(expected: str, value: Any) -> MismatchError:
    found = "null" if value is None else type(value).__name__
    return MismatchError(f"expected {expected}, found {found}")


def _scalar(kind: type, expected: str) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _expect(expected, value)
        return value

    return convert


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise _expect("a number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise MismatchError("expected a number, found one that is too large") from error


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expect("an integer", value)
    return value


def _none(value: Any) -> None:
    if value is not None:
        raise _expect("null", value)


def _parsed(kind: Callable[[str], Any], expected: str) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            raise _expect(expected, value)
        try:
            return kind(value)
        except (ValueError, ArithmeticError) as error:
            raise MismatchError(f"expected {expected}, found {value!r}") from error

    return convert


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise _expect("a number", value)
    try:
        number = Decimal(value)
    except ArithmeticError as error:
        raise MismatchError(f"expected a number, found {value!r}") from error
    if not number.is_finite():
        raise MismatchError(f"expected a number, found {value!r}")
    return number


def _time(text: str) -> datetime:
    # Python 3.10 accepts neither the Z of RFC 3339 nor fractions other than of 3 or 6 digits.
    text = text[:-1] + "+00:00" if text.endswith("Z") else text
    return datetime.fromisoformat(re.sub(r"\.(\d+)", lambda each: f".{each[1][:6]:0<6}", text, count=1))


_SCALARS: dict[Any, Convert] = {
    Any: lambda value: value,
    object: lambda value: value,
    None: _none,
    type(None): _none,
    bool: _scalar(bool, "true or false"),
    str: _scalar(str, "a string"),
    int: _int,
    float: _float,
    Decimal: _decimal,
    datetime: _parsed(_time, "a time in RFC 3339"),
    date: _parsed(date.fromisoformat, "a date"),
    UUID: _parsed(UUID, "a UUID"),
    dict: _scalar(dict, "an object"),
    list: _scalar(list, "an array"),
}


def _converter(kind: Any) -> Convert:
    try:
        return _cached(kind)
    except TypeError:  # an annotation that cannot be hashed
        return _build(kind)


@functools.lru_cache(maxsize=1024)
def _cached(kind: Any) -> Convert:
    return _build(kind)


def _build(kind: Any) -> Convert:
    """Build the function that converts a value of JSON to a type."""
    if isinstance(kind, typing.TypeVar):
        return _SCALARS[Any]
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _converter(arguments[0])
    if hasattr(kind, "__supertype__"):  # a NewType
        return _converter(kind.__supertype__)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is typing.Literal:
        return _literal(arguments)
    plain = origin or kind
    if dataclasses.is_dataclass(plain):
        return _dataclass(plain, arguments)
    if typing.is_typeddict(plain):
        return _typed_dict(plain)
    if hasattr(plain, "model_validate"):  # a model of Pydantic
        return _model(kind)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return _parsed_value(plain)
    if isinstance(plain, type) and issubclass(plain, tuple):
        return _tuple(arguments)
    if plain in (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection):
        return _sequence(list if plain.__module__ == "collections.abc" else plain, arguments)
    if plain in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
        return _mapping(arguments)
    raise TypeError(f"JSON cannot be converted to {kind!r}: use a dataclass, a TypedDict or a type such as str")


def _model(kind: Any) -> Convert:
    def convert(value: Any) -> Any:
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise MismatchError(str(error)) from error

    return convert


def _parsed_value(kind: type[enum.Enum]) -> Convert:
    def convert(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            raise MismatchError(str(error)) from error

    return convert


def _literal(values: tuple[Any, ...]) -> Convert:
    def convert(value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in values):
            raise MismatchError(f"expected one of {values!r}, found {value!r}")
        return value

    return convert


def _union(kinds: tuple[Any, ...]) -> Convert:
    converters = [_converter(each) for each in kinds if each is not type(None)]
    optional = len(converters) < len(kinds)

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        if type(value) is int and int in kinds:
            return value  # a conversion to float would lose digits
        failures = []
        for each in converters:
            try:
                return each(value)
            except MismatchError as error:
                failures.append(str(error))
        raise MismatchError(" or ".join(failures))

    return convert


def _at(place: Any, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except MismatchError as error:
        raise MismatchError(f"{place}: {error}") from error


def _sequence(kind: Callable[[list[Any]], Any], arguments: tuple[Any, ...]) -> Convert:
    convert_item = _converter(arguments[0]) if arguments else _SCALARS[Any]

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            raise _expect("an array", value)
        return kind([_at(index, convert_item, each) for index, each in enumerate(value)])

    return convert


def _tuple(arguments: tuple[Any, ...]) -> Convert:
    if (len(arguments) == 2 and arguments[1] is ...) or not arguments:
        return _sequence(tuple, arguments[:1])
    converters = [_converter(each) for each in arguments]

    def convert(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(converters):
            raise _expect(f"an array of {len(converters)} values", value)
        return tuple(_at(index, each, value[index]) for index, each in enumerate(converters))

    return convert


def _mapping(arguments: tuple[Any, ...]) -> Convert:
    convert_name = _name(arguments[0]) if arguments else str
    convert_value = _converter(arguments[1]) if arguments else _SCALARS[Any]

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _expect("an object", value)
        return {_at(name, convert_name, name): _at(name, convert_value, each) for name, each in value.items()}

    return convert


def _name(kind: Any) -> Convert:
    """Build the function that converts the name of a field to the type of a key."""
    if hasattr(kind, "__supertype__"):  # a NewType
        return _name(kind.__supertype__)
    if kind is int:
        return _parsed(int, "an integer")
    if kind in (UUID, date, datetime, Decimal) or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return _converter(kind)
    return _SCALARS[Any]


def _typed_dict(kind: Any) -> Convert:
    converters = {name: _converter(each) for name, each in typing.get_type_hints(kind).items()}
    required = _required(kind)

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _expect("an object", value)
        for name in required:
            if name not in value:
                raise MismatchError(f"the field {name} is missing")
        return {name: _at(name, converters.get(name, _SCALARS[Any]), each) for name, each in value.items()}

    return convert


def _required(kind: Any) -> set[str]:
    """Return the required fields of a TypedDict.

    Its `__required_keys__` does not know the markers of a module whose annotations are texts.
    """
    required = set(kind.__required_keys__)
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        marker = typing.get_origin(hint)
        if marker is not None and marker is getattr(typing, "NotRequired", None):
            required.discard(name)
        elif marker is not None and marker is getattr(typing, "Required", None):
            required.add(name)
    return required


def _dataclass(kind: Any, arguments: tuple[Any, ...]) -> Convert:
    bound = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    hints = typing.get_type_hints(kind)
    fields = [each for each in dataclasses.fields(kind) if each.init]
    # A class may contain itself, so that the functions of its fields are built at the first use.
    converters: dict[str, Convert] = {}

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _expect("an object", value)
        if not converters:
            converters.update({each.name: _converter(_substituted(hints[each.name], bound)) for each in fields})
        known = {}
        for each in fields:
            if each.name in value:
                known[each.name] = _at(each.name, converters[each.name], value[each.name])
            elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                raise MismatchError(f"the field {each.name} is missing")
        try:
            return kind(**known)
        except ValueError as error:  # the method __post_init__ refused the values
            raise MismatchError(str(error)) from error

    return convert


def _substituted(hint: Any, bound: dict[Any, Any]) -> Any:
    """Replace the type variables of a generic class."""
    if isinstance(hint, typing.TypeVar):
        return bound.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(bound.get(each, Any) for each in parameters)] if bound and parameters else hint
