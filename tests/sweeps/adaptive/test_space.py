"""The space that a search varies: what the text of a space means, which texts are refused, and where its values lie."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps import options, search
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.space import SEARCHABLE, Choice, Range, Space, parse_space

TEXTS = {
    "tau=0.1:10:zero:log": {"tau": Range(low=0.1, high=10, log=True, zero=True)},
    "gamma_tc=1.00004:20:log": {"gamma_tc": Range(low=1.00004, high=20, log=True)},
    "alpha=0:64": {"alpha": Range(low=0, high=64)},
    "learning_rate=1e-5:1e-3:log": {"learning_rate": Range(low=1e-5, high=1e-3, log=True)},
    "label_rate=0.123456,0.123457,1": {"label_rate": Choice(values=(0.123456, 0.123457, 1))},
    "z_dim=0:10": {"z_dim": Range(low=0, high=10)},
    "z_dim=1:64:log": {"z_dim": Range(low=1, high=64, log=True)},
    "z_dim=2,5,10": {"z_dim": Choice(values=(2, 5, 10))},
    "tau=1,0,1,2": {"tau": Choice(values=(1, 0, 2))},
}
"""Texts, and what they mean."""
SEVERAL = ["tau=0.1:10:log:zero", "z_dim=1:10", "gamma_tc=1:20:log", "label_rate=0.01,0.02", "alpha=0:64"]


def at(distribution: FloatDistribution | IntDistribution | CategoricalDistribution, share: float) -> Any:
    """A value of an axis as Optuna would hold it."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = distribution.low, distribution.high
    value = low * (high / low) ** share if distribution.log else low + (high - low) * share
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def toml_file(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text)
    return path


# What is written


def test_texts_mean_their_values_and_come_back_from_text_and_json() -> None:
    generator = random.Random(0)
    spaces = [Space(parameters) for parameters in TEXTS.values()]
    assert [parse_space([text]) for text in TEXTS] == spaces
    for _ in range(200):
        numbers = generator.sample([number / 1000 for number in range(1, 1001)], generator.randint(2, 4))
        zero = generator.random() < 0.3
        log = zero or generator.random() < 0.5
        kinds = Choice(values=tuple(numbers)), Range(low=min(numbers), high=max(numbers), log=log, zero=zero)
        spaces.append(Space({generator.choice(["tau", "gamma_tc", "alpha"]): generator.choice(kinds)}))
    for space in [*spaces, parse_space(SEVERAL)]:
        assert parse_space(str(space).split()) == Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    assert list(parse_space(SEVERAL[::-1]).parameters) == ["alpha", "label_rate", "gamma_tc", "z_dim", "tau"]


def test_a_file_means_what_the_command_line_means_which_goes_over_it(tmp_path: Path) -> None:
    text = """
        tau = {low = 0.1, high = 10, log = true, zero = true}
        z_dim = {low = 1, high = 10}
        label_rate = [0.01, 0.02]  # and no others

        [gamma_tc]
        low = 1.0
        high = 20
        log = true
        zero = false
    """
    file = toml_file(tmp_path, text)
    assert parse_space([], file) == parse_space([SEVERAL[0], SEVERAL[1], SEVERAL[3], SEVERAL[2]])
    assert parse_space(["tau=0,1"], file).parameters["tau"] == Choice(values=(0, 1))
    assert parse_space(["tau=0,1"], toml_file(tmp_path, "tau = 'all'")) == parse_space(["tau=0,1"])


# What is refused

KNOWN = ", ".join(SEARCHABLE)
FORM = "`space` must have the form NAME=LOW:HIGH[:log][:zero] or NAME=A,B, got "
FORMS = "`tau` must be a list of values or have low, high and maybe log, got "
BROKEN = {
    "seed=1,2": f"`space` must be one of {KNOWN}, got seed",
    "=1:2": f"`space` must be one of {KNOWN}, got ",
    "tau": f"{FORM}tau: ",
    "tau=low:high": f"{FORM}tau=low:high: could not convert string to float: 'low'",
    "tau=1:10:exp": f"{FORM}tau=1:10:exp: exp is neither log nor zero",
    "tau=10:1": "`tau` must have low < high, got low 10 and high 1",
    "z_dim=5:5": "`z_dim` must have low < high, got low 5 and high 5",
    "tau=0:10:log": "`tau` must have low > 0 to be searched by its logarithm, got 0; give 0 as a choice with",
    "gamma_tc=4,4.0": "`gamma_tc` must have two values or more, got 4: fix it with --gamma-tc",
    "tau=1:nan": "`tau` must be of finite numbers, got nan",
    "tau=1,1e999": "`tau` must be of finite numbers, got inf",
    "z_dim=1.5:3": "`z_dim` must be of whole numbers, got 1.5",
    "tau=0.1:10:zero": "`tau` can have zero beside a logarithmic range of real numbers only, got 0.1:10:zero",
    "z_dim=1:10:log:zero": "`z_dim` can have zero beside a logarithmic range of real numbers only, got 1:10:log:zero",
    "tau=-1:1": "`tau` must be finite and >= 0, got -1",
    "label_rate=0.01:1:log:zero": "`label_rate` must lie in (0, 1], got 0",
    "tau=1e-300:1e300:log:zero": "`tau` must leave room for zero below low, got low 1e-300",
}
BROKEN_IN_FILES = {
    "tau = 1": FORMS + "1",
    'tau = "two\\nlines"': FORMS,
    "tau = {low = 1}": FORMS,
    "tau = {low = 1, high = 2, step = 0.1}": FORMS,
    "tau = {low = '1', high = 2}": "`tau` must be of finite numbers, got '1'",
    "tau = {low = 1, high = true}": "`tau` must be of finite numbers, got True",
    f"tau = {{low = 1, high = 1{'0' * 400}}}": "`tau` must be of finite numbers, got 1000",
    "tau = {low = 1, high = 2, log = 1}": "`tau` must have log true or false, got 1",
    "tau = []": "`tau` must have two values or more, got none",
    "tau = [[1, 2], 3]": "`tau` must be of finite numbers, got [1, 2]",
    "z_dim = [1, 2.5]": "`z_dim` must be of whole numbers, got 2.5",
    "[space]\ntau = [0, 1]": f"`space` must be one of {KNOWN}, got space",
    "# nothing yet": f"`space` must vary at least one of {KNOWN}, got none",
    "tau: [0, 1]": "`space_file` must be a TOML file, got `",
}


def refusal(parts: list[str], file: Path | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        parse_space(parts, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_broken_rules_are_stated_in_one_line_with_the_value(tmp_path: Path) -> None:
    for part, message in BROKEN.items():
        assert refusal(["alpha=1:64", part]).startswith(message)
    for text, message in BROKEN_IN_FILES.items():
        assert refusal([], toml_file(tmp_path, text)).startswith(message)
    for part in ("z_dim=0:10:log", "learning_rate=0:1:log", "label_rate=0:1:log"):
        assert "zero" not in refusal([part])  # it is advised only where it can be had
    missing, image = tmp_path / "none.toml", tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert refusal([], missing).endswith(f"TOML file, got `{missing}`: No such file or directory")
    assert refusal([], tmp_path).endswith(f"got `{tmp_path}`: Is a directory")
    assert f"got `{image}`: " in refusal([], image)


def test_random_texts_are_a_space_or_one_line_and_never_another_error() -> None:
    generator = random.Random(0)
    accepted, refused = [], []
    for _ in range(3000):
        name = generator.choice([*SEARCHABLE, "x", ""])
        tokens = [generator.choice(["0", "1", "2.5", "10", "-1", "nan", "inf", "log", "zero", ""]) for _ in range(3)]
        part = f"{name}={generator.choice(':,').join(tokens[: generator.randint(1, 3)])}"
        try:
            accepted.append(parse_space([part]))
        except InvalidInputError as error:
            refused.append(str(error))
    assert len(accepted) > 50
    assert [message for message in refused if not re.fullmatch(r"`\w+` .*", message)] == []
    for space in accepted:
        assert parse_space(str(space).split()) == space
        assert all(not axis.single() for axis in space.distributions().values())


# Where values lie


def test_values_are_those_that_were_asked_for_of_four_digits_and_a_function_of_the_point() -> None:
    """So what is remembered of a suggestion names the same members again, after JSON as before."""
    generator = random.Random(0)
    for text in TEXTS:
        space = parse_space([text])
        [(name, values)] = space.parameters.items()
        axis = space.distributions()[name]
        for share in [0.0, 1.0, *(generator.random() for _ in range(200))]:
            point = {name: at(axis, share)}
            fields = space.fields(point)
            value = fields[name]
            if isinstance(values, Choice):
                assert value in values.values
            else:
                ends = (values.low, values.high)
                assert values.low <= value <= values.high or (values.zero and value == 0)
                assert value == float(f"{value:.4g}") or value in ends
                assert value == pytest.approx(point[name], rel=1e-3) or name == "z_dim" or value == 0
            assert type(value) is (int if name == "z_dim" else float)
            assert getattr(MemberConfig(**fields), name) == value
            again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
            assert again.fields(json.loads(json.dumps(point))) == fields
    kinds = [
        type(axis) for axis in parse_space(["tau=0.1:10", "z_dim=1:16:log", "alpha=1,64"]).distributions().values()
    ]
    assert kinds == [FloatDistribution, IntDistribution, CategoricalDistribution]


@pytest.mark.parametrize("text", ["tau=0.1:10:log:zero", "alpha=1e-6:1e6:log:zero"])
def test_zero_has_a_tenth_of_the_axis(text: str) -> None:
    """Below the lowest value; nothing lies between the two."""
    space = parse_space([text])
    [(name, values)] = space.parameters.items()
    count = 10_000
    drawn = [space.fields({name: at(space.distributions()[name], i / count)})[name] for i in range(count)]
    zeros = sum(value == 0 for value in drawn)
    assert zeros == pytest.approx(0.1 * count, rel=0.01)
    assert drawn[:zeros] == [0] * zeros
    assert [drawn[zeros], drawn[-1]] == pytest.approx([values.low, values.high], rel=0.01)
    middle = drawn[zeros + (count - zeros) // 2]
    assert middle == pytest.approx(math.sqrt(values.low * values.high), rel=0.01)


def test_a_field_is_given_once() -> None:
    with pytest.raises(InvalidInputError, match=r"^`space` must have each field once, got tau 2 times$"):
        parse_space(["tau=0:1", "gamma_tc=1:2", "tau=1:2"])


def test_a_file_that_is_edited_while_a_search_runs_is_for_the_next_command(tmp_path: Path) -> None:
    file = toml_file(tmp_path, "tau = {low = 0, high = 10}")
    given = ["--preset", "quick", "--space-file", str(file)]
    chosen = options.parse(given, search.PRESETS, options.default_preset, "")
    study = AdaptiveStudy(chosen, chosen.fixed_fields(search.PRESETS["quick"]))
    before = [study.member(Suggestion({"tau": 8.0}, {}), seed=0), str(study.space)]
    toml_file(tmp_path, "alpha = {low = 1, high = 5}")
    assert [study.member(Suggestion({"tau": 8.0}, {}), seed=0), str(study.space)] == before
