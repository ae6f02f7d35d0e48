"""Fields of a configuration as flags of a command line: their types, defaults and descriptions are the fields' own."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import docstring_parser
import tyro

from larvae.config import CHOICES, MemberConfig
from larvae.regularisers import REGULARISERS, Setting


def flags_of(config: type, defaults: Mapping[str, Any], without: Collection[str] = ()) -> Any:
    """An object for tyro that has a flag for each field of a dataclass but those left out.

    defaults: those of a preset; the others are the dataclass's.
    """
    hints = typing.get_type_hints(config)
    shown = [field for field in dataclasses.fields(config) if field.name not in without]
    flags = []
    for field in shown:
        default = defaults.get(field.name, field.default)
        kind = hints[field.name] | None if default is None else hints[field.name]
        flags.append((field.name, _flag(kind, description(config, field.name)), default))
    return _instance(flags)


def flags_of_model(
    defaults: Mapping[str, Any], without: Collection[str], regularisers: Iterable[str], *, are_weighted: bool = True
) -> Any:
    """Flags of a member's configuration, and of the settings that some regularisers alone have.

    are_weighted: whether a regulariser's usual weight is the default; else each configuration has its own.
    """
    known = [REGULARISERS[name] for name in dict.fromkeys(regularisers) if name in REGULARISERS]
    if len(known) == 1 and are_weighted:
        defaults = {"gamma_tc": known[0].default_weight, **defaults}
    model = flags_of(MemberConfig, defaults, {*without, "regulariser_settings"})
    settings: dict[str, Setting] = {setting.name: setting for each in known for setting in each.settings}
    own = [
        (name, _flag(float | None if len(known) > 1 else float, setting.description), _default(setting, known))
        for name, setting in settings.items()
        if name not in without
    ]
    return _instance([(f.name, f.type, f.default) for f in dataclasses.fields(model)] + own)


def flags_of_values(values: Mapping[str, tuple[Any, ...]]) -> Any:
    """A flag for the values of each field that a sweep varies: `--taus` for tau."""
    kinds = typing.get_type_hints(MemberConfig)
    flags = []
    for name, usual in values.items():
        kind = types.GenericAlias(tuple, (kinds[name], ...))
        flags.append((name, _flag(kind, f"Values of {name}. {description(MemberConfig, name)}", f"{name}s"), usual))
    return _instance(flags)


def given(flags: Any) -> dict[str, Any]:
    """The values of flags by name, but those that were left out."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)}
    return {name: value for name, value in values.items() if value is not None}


def description(config: type, name: str) -> str:
    """The docstring of a field, in one line, with what can be chosen."""
    described = _docstrings(config)[name]
    if name == "regulariser":
        choices = [f"{known.name} ({known.description})" for known in REGULARISERS.values()]
    else:
        choices = list(CHOICES.get(name, ()))
    return f"{described} Choices: {', '.join(choices)}." if choices else described


@functools.cache
def _docstrings(config: type) -> dict[str, str]:
    documented = docstring_parser.parse_from_object(config).params
    return {field.arg_name: " ".join((field.description or "").split()) for field in documented}


def _default(setting: Setting, known: Collection[Any]) -> float | None:
    return setting.default if len(known) == 1 else None


def _flag(kind: Any, text: str, name: str | None = None) -> Any:
    return Annotated[kind, tyro.conf.arg(help=text, name=name)]


def _instance(flags: Iterable[tuple[str, Any, Any]]) -> Any:
    fields = [(name, kind, dataclasses.field(default=default)) for name, kind, default in flags]
    return dataclasses.make_dataclass("Flags", fields, kw_only=True, frozen=True)()
