"""The space of a search: parameters, each with the values it may take, from a TOML file or a command line."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError, require_known

FLOATS = ("tau", "gamma_tc", "alpha", "learning_rate", "label_rate")
INTEGERS = ("z_dim",)
SEARCHABLE = (*FLOATS, *INTEGERS)
"""Fields of MemberConfig that a search can vary."""

FLAGS = ("log", "zero")
"""Words that a range may have besides its ends."""

Point = Mapping[str, Any]
"""Values as Optuna holds them, by parameter."""

_ZERO_SHARE = 0.1  # of the axis of a parameter that may be 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Numbers from `low` to `high`."""

    low: float
    high: float
    log: bool = False
    """True if ratios count, not differences."""
    zero: bool = False
    """True if 0 is a choice beside a logarithmic range: what falls into the lowest tenth of the axis, below `low`."""

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}" + ":log" * self.log + ":zero" * self.zero


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One value of several."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in self.values)


@dataclass(frozen=True, slots=True)
class Space:
    """The parameters that a search varies, by name."""

    parameters: Mapping[str, Range | Choice]

    def distributions(self) -> dict[str, BaseDistribution]:
        """The same for Optuna. A range with a zero has room for it below its `low`."""
        return {name: _distribution(name, values) for name, values in self.parameters.items()}

    def fields(self, point: Point) -> dict[str, Any]:
        """The fields of a member's configuration at a point."""
        return {name: _value(name, values, point[name]) for name, values in self.parameters.items()}

    def corners(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields where all parameters have their lowest value, and where all have their highest."""
        ends = {
            name: values.values if isinstance(values, Choice) else (0 if values.zero else values.low, values.high)
            for name, values in self.parameters.items()
        }
        whole = {name: tuple(map(int, numbers)) if name in INTEGERS else numbers for name, numbers in ends.items()}
        return {n: min(numbers) for n, numbers in whole.items()}, {n: max(numbers) for n, numbers in whole.items()}

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON gives it back: `from_dict` is the inverse."""
        described = {name: asdict(values) for name, values in self.parameters.items()}
        return {name: list(values["values"]) if "values" in values else values for name, values in described.items()}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Space:
        """The space of `{name: {low, high, log, zero}}` or `{name: [values]}`. Raises InvalidInputError."""
        return cls({name: _from_description(name, value) for name, value in described.items()})

    def __str__(self) -> str:
        return " ".join(f"{name}={values}" for name, values in self.parameters.items())


def parse_space(parts: Iterable[str], file: Path | None = None) -> Space:
    """The space of a TOML file, if one is given, and of parts `NAME=LOW:HIGH[:log][:zero]` or `NAME=A,B,…` over it.

    Raises InvalidInputError when a rule is broken or nothing varies.
    """
    described = {} if file is None else _read(file)
    given = [_from_text(part) for part in parts]
    for name, times in Counter(name for name, _ in given).items():
        if times > 1:
            raise InvalidInputError(f"`space` must have each field once, got {name} {times} times")
    space = Space.from_dict(described | dict(given))
    if not space.parameters:
        raise InvalidInputError(f"`space` must vary at least one of {', '.join(SEARCHABLE)}, got none")
    return space


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # tomllib's own, and those of Python's numbers and nesting
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"`space_file` must be a TOML file, got `{file}`: {reason}") from None


def _from_text(part: str) -> tuple[str, Any]:
    name, _, text = part.partition("=")
    try:
        if ":" not in text:
            return name, [float(value) for value in text.split(",")]
        low, high, *flags = text.split(":")
        if unknown := [flag for flag in flags if flag not in FLAGS]:
            raise ValueError(f"{unknown[0]} is neither log nor zero")
        return name, {"low": float(low), "high": float(high), **dict.fromkeys(flags, True)}
    except ValueError as error:
        form = "`space` must have the form NAME=LOW:HIGH[:log][:zero] or NAME=A,B"
        raise InvalidInputError(f"{form}, got {part}: {error}") from None


def _from_description(name: str, described: Any) -> Range | Choice:
    require_known("space", name, SEARCHABLE)
    if isinstance(described, list):
        for number in described:
            _require_number(name, number)
        values: Range | Choice = Choice(values=tuple(dict.fromkeys(described)))
    elif isinstance(described, dict) and {"low", "high"} <= described.keys() <= {"low", "high", *FLAGS}:
        for flag in FLAGS:
            if not isinstance(described.get(flag, False), bool):
                raise InvalidInputError(f"`{name}` must have {flag} true or false, got {described[flag]!r}")
        for number in (described["low"], described["high"]):
            _require_number(name, number)
        values = Range(**described)
    else:
        raise InvalidInputError(f"`{name}` must be a list of values or have low, high and maybe log, got {described!r}")
    _require_sound(name, values)
    return values


def _require_number(name: str, number: Any) -> None:
    """Raise InvalidInputError unless it is a finite number that the field can have."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= sys.float_info.max:
        raise InvalidInputError(f"`{name}` must be of finite numbers, got {number!r}")
    if name in INTEGERS and number != int(number):
        raise InvalidInputError(f"`{name}` must be of whole numbers, got {number}")
    field: dict[str, Any] = {name: number}
    MemberConfig.from_dict(field)


def _require_sound(name: str, values: Range | Choice) -> None:
    """Raise InvalidInputError for a choice of one value or a range that is none."""
    if isinstance(values, Choice):
        if len(values.values) < 2:
            got, option = str(values) or "none", name.replace("_", "-")
            raise InvalidInputError(f"`{name}` must have two values or more, got {got}: fix it with --{option}")
        return
    if not values.low < values.high:
        raise InvalidInputError(f"`{name}` must have low < high, got low {values.low:g} and high {values.high:g}")
    if values.log and values.low <= 0:
        zero = "; give 0 as a choice with LOW:HIGH:log:zero" if name not in INTEGERS else ""
        raise InvalidInputError(f"`{name}` must have low > 0 to be searched by its logarithm, got {values.low:g}{zero}")
    if values.zero and (not values.log or name in INTEGERS):
        raise InvalidInputError(f"`{name}` can have zero beside a logarithmic range of real numbers only, got {values}")
    if values.zero:
        _require_number(name, 0)
        if _lowest_point(values) <= 0:
            raise InvalidInputError(f"`{name}` must leave room for zero below low, got low {values.low:g}")


def _distribution(name: str, values: Range | Choice) -> BaseDistribution:
    if isinstance(values, Choice):
        return CategoricalDistribution(tuple(int(v) if name in INTEGERS else float(v) for v in values.values))
    if name in INTEGERS:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(_lowest_point(values), values.high, log=values.log)


def _lowest_point(values: Range) -> float:
    """The point where the axis begins: below `low` where there is a zero."""
    room = (values.low / values.high) ** (_ZERO_SHARE / (1 - _ZERO_SHARE)) if values.zero else 1.0
    return values.low * room


def _value(name: str, values: Range | Choice, value: float) -> float | int:
    if name in INTEGERS:
        return int(value)
    if isinstance(values, Choice):
        return float(value)
    if values.zero and value < values.low:
        return 0.0
    rounded = float(f"{value:.4g}")  # as many digits as people read
    return float(min(max(rounded, values.low), values.high))
