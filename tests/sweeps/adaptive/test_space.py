"""What a search varies: what the text of a space means, which texts are refused, and where its values lie."""

from __future__ import annotations

import itertools
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
from sweeps.adaptive.space import SEARCHABLE, Choice, Range, Space, parse_space

TEXTS = {
    "tau=0.1:10:log:zero": {"tau": Range(low=0.1, high=10, log=True, zero=True)},
    "tau=0.1:10:zero:log": {"tau": Range(low=0.1, high=10, log=True, zero=True)},
    "gamma_tc=1:20:log": {"gamma_tc": Range(low=1, high=20, log=True)},
    "alpha=0:64": {"alpha": Range(low=0, high=64)},
    "learning_rate=1e-5:1e-3:log": {"learning_rate": Range(low=1e-5, high=1e-3, log=True)},
    "label_rate=0.01,0.02,1": {"label_rate": Choice(values=(0.01, 0.02, 1))},
    "z_dim=0:10": {"z_dim": Range(low=0, high=10)},
    "z_dim=1:64:log": {"z_dim": Range(low=1, high=64, log=True)},
    "z_dim=2,5,10": {"z_dim": Choice(values=(2, 5, 10))},
    "tau=1,0,1,2": {"tau": Choice(values=(1, 0, 2))},
}
"""What is written, and what it means."""
SEVERAL = ("tau=0.1:10:log:zero", "z_dim=1:10", "gamma_tc=1:20:log", "label_rate=0.01,0.02", "alpha=0:64")


def toml_file(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text)
    return path


def shares(count: int) -> list[float]:
    """Random shares of an axis, and its ends."""
    generator = random.Random(0)
    return [0.0, 1.0, *(generator.random() for _ in range(count))]


def at(distribution: FloatDistribution | IntDistribution | CategoricalDistribution, share: float) -> Any:
    """A value of an axis as Optuna would hold it."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = distribution.low, distribution.high
    value = low * (high / low) ** share if distribution.log else low + (high - low) * share
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


# What is written


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_a_parameter_means_its_values(text: str) -> None:
    assert parse_space([text]) == Space(TEXTS[text])


def test_parameters_are_in_the_order_in_which_they_are_given() -> None:
    assert list(parse_space(SEVERAL).parameters) == ["tau", "z_dim", "gamma_tc", "label_rate", "alpha"]
    assert list(parse_space(SEVERAL[::-1]).parameters) == ["alpha", "label_rate", "gamma_tc", "z_dim", "tau"]


@pytest.mark.parametrize("texts", [[text] for text in TEXTS] + [list(SEVERAL)], ids=" ".join)
def test_a_space_as_text_is_the_space_again(texts: list[str]) -> None:
    space = parse_space(texts)
    assert parse_space(str(space).split()) == space


@pytest.mark.parametrize("text", TEXTS)
def test_a_space_as_json_is_the_space_again(text: str) -> None:
    space = parse_space([text])
    described = space.to_dict()
    assert json.loads(json.dumps(described)) == described
    assert Space.from_dict(described) == space
    assert Space.from_dict(described).to_dict() == described


def test_random_spaces_survive_text_and_json() -> None:
    generator = random.Random(0)
    for _ in range(300):
        numbers = generator.sample([number / 1000 for number in range(1, 1001)], generator.randint(2, 4))
        zero = generator.random() < 0.3
        log = zero or generator.random() < 0.5
        kinds = Choice(values=tuple(numbers)), Range(low=min(numbers), high=max(numbers), log=log, zero=zero)
        space = Space({generator.choice(["tau", "gamma_tc", "alpha"]): generator.choice(kinds)})
        assert parse_space([str(space)]) == Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_a_file_means_what_the_command_line_means(tmp_path: Path) -> None:
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
    expected = ["tau=0.1:10:log:zero", "z_dim=1:10", "label_rate=0.01,0.02", "gamma_tc=1:20:log"]
    assert parse_space([], toml_file(tmp_path, text)) == parse_space(expected)


def test_the_command_line_goes_over_the_file(tmp_path: Path) -> None:
    file = toml_file(tmp_path, "tau = {low = 0.1, high = 10, log = true}\nz_dim = [1, 2]")
    space = parse_space(["tau=0,1", "alpha=1:64"], file)
    assert space == Space(
        {"tau": Choice(values=(0, 1)), "z_dim": Choice(values=(1, 2)), "alpha": Range(low=1, high=64)}
    )


def test_the_command_line_mends_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    assert parse_space(["tau=0,1"], toml_file(tmp_path, "tau = 'all'")) == parse_space(["tau=0,1"])


# What is refused


def assert_refused(message: str, parts: list[str], file: Path | None = None) -> None:
    """In one line that begins with a message."""
    with pytest.raises(InvalidInputError) as caught:
        parse_space(parts, file)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


KNOWN = ", ".join(SEARCHABLE)
FORM = "`space` must have the form NAME=LOW:HIGH[:log][:zero] or NAME=A,B, got "
ZERO = "`{name}` can have zero beside a logarithmic range of real numbers only, got "


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("beta=1:2", f"`space` must be one of {KNOWN}, got beta"),
        ("seed=1,2", f"`space` must be one of {KNOWN}, got seed"),
        ("held_out=0.1:0.5", f"`space` must be one of {KNOWN}, got held_out"),
        ("=1:2", f"`space` must be one of {KNOWN}, got "),
        ("tau", f"{FORM}tau: "),
        ("tau=", f"{FORM}tau=: "),
        ("tau=1:", f"{FORM}tau=1:: "),
        ("tau=:1", f"{FORM}tau=:1: "),
        ("tau=low:high", f"{FORM}tau=low:high: could not convert string to float: 'low'"),
        ("tau=a,b", f"{FORM}tau=a,b: could not convert string to float: 'a'"),
        ("tau=1,,2", f"{FORM}tau=1,,2: "),
        ("tau=1:10:exp", f"{FORM}tau=1:10:exp: exp is neither log nor zero"),
        ("tau=1:10:2", f"{FORM}tau=1:10:2: 2 is neither log nor zero"),
        ("tau=1:10:", f"{FORM}tau=1:10:: "),
        ("tau=10:1", "`tau` must have low < high, got low 10 and high 1"),
        ("tau=1:1", "`tau` must have low < high, got low 1 and high 1"),
        ("gamma_tc=20:1:log", "`gamma_tc` must have low < high, got low 20 and high 1"),
        ("z_dim=5:5", "`z_dim` must have low < high, got low 5 and high 5"),
        ("tau=0:10:log", "`tau` must have low > 0 to be searched by its logarithm, got 0; give 0 as a choice with"),
        ("tau=0:10:log:zero", "`tau` must have low > 0 to be searched by its logarithm, got 0; give 0 as a choice"),
        ("tau=1", "`tau` must have two values or more, got 1: fix it with --tau"),
        ("gamma_tc=4,4.0", "`gamma_tc` must have two values or more, got 4: fix it with --gamma-tc"),
        ("z_dim=5", "`z_dim` must have two values or more, got 5: fix it with --z-dim"),
        ("tau=nan:1", "`tau` must be of finite numbers, got nan"),
        ("tau=1:nan", "`tau` must be of finite numbers, got nan"),
        ("tau=1:inf", "`tau` must be of finite numbers, got inf"),
        ("tau=-inf:1", "`tau` must be of finite numbers, got -inf"),
        ("tau=1,nan", "`tau` must be of finite numbers, got nan"),
        ("tau=1,1e999", "`tau` must be of finite numbers, got inf"),
        ("z_dim=1.5:3", "`z_dim` must be of whole numbers, got 1.5"),
        ("z_dim=1:3.2", "`z_dim` must be of whole numbers, got 3.2"),
        ("z_dim=1,2.5", "`z_dim` must be of whole numbers, got 2.5"),
        ("tau=0.1:10:zero", ZERO.format(name="tau") + "0.1:10:zero"),
        ("tau=0:10:zero", ZERO.format(name="tau") + "0:10:zero"),
        ("z_dim=1:10:zero", ZERO.format(name="z_dim") + "1:10:zero"),
        ("z_dim=1:10:log:zero", ZERO.format(name="z_dim") + "1:10:log:zero"),
        ("tau=-1:1", "`tau` must be finite and >= 0, got -1"),
        ("tau=-1,1", "`tau` must be finite and >= 0, got -1"),
        ("label_rate=0.5:1.5", "`label_rate` must lie in (0, 1], got 1.5"),
        ("label_rate=0,1", "`label_rate` must lie in (0, 1], got 0"),
        ("label_rate=0.01:1:log:zero", "`label_rate` must lie in (0, 1], got 0"),
        ("learning_rate=1e-5:1e-3:log:zero", "`learning_rate` must be finite and > 0, got 0"),
        ("z_dim=-1:3", "`z_dim` must be >= 0, got -1"),
    ],
)
def test_broken_rule_is_stated_with_the_value(part: str, message: str) -> None:
    assert_refused(message, ["alpha=1:64", part])


@pytest.mark.parametrize("part", ["z_dim=0:10:log", "learning_rate=0:1:log", "label_rate=0:1:log"])
def test_zero_is_advised_only_where_it_can_be_had(part: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_space([part])
    assert "LOW:HIGH:log:zero" not in str(caught.value)


def test_a_space_must_vary_something(tmp_path: Path) -> None:
    message = f"`space` must vary at least one of {KNOWN}, got none"
    assert_refused(message, [])
    assert_refused(message, [], toml_file(tmp_path, "# nothing yet"))


FORMS = "`tau` must be a list of values or have low, high and maybe log, got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tau = 1", FORMS + "1"),
        ("tau = '0.1:10:log'", FORMS + "'0.1:10:log'"),
        ('tau = "two\\nlines"', FORMS),
        ("tau = true", FORMS + "True"),
        ("tau = 2020-01-01", FORMS),
        ("tau = {}", FORMS + "{}"),
        ("tau = {low = 1}", FORMS),
        ("tau = {low = 1, high = 2, step = 0.1}", FORMS),
        ("[tau.range]\nlow = 1\nhigh = 2", FORMS),
        ("tau = {low = '1', high = 2}", "`tau` must be of finite numbers, got '1'"),
        ("tau = {low = 1, high = true}", "`tau` must be of finite numbers, got True"),
        ("tau = {low = 1, high = [2]}", "`tau` must be of finite numbers, got [2]"),
        ("tau = {low = 1, high = {low = 2}}", "`tau` must be of finite numbers, got {'low': 2}"),
        ("tau = {low = 1, high = inf}", "`tau` must be of finite numbers, got inf"),
        ("tau = {low = nan, high = 1}", "`tau` must be of finite numbers, got nan"),
        (f"tau = {{low = 1, high = 1{'0' * 400}}}", "`tau` must be of finite numbers, got 1000"),
        ("tau = {low = 1, high = 2, log = 'yes'}", "`tau` must have log true or false, got 'yes'"),
        ("tau = {low = 1, high = 2, log = 1}", "`tau` must have log true or false, got 1"),
        ("tau = {low = 1, high = 2, log = true, zero = [0]}", "`tau` must have zero true or false, got [0]"),
        ("tau = []", "`tau` must have two values or more, got none"),
        ("tau = [1]", "`tau` must have two values or more, got 1"),
        ("tau = [1, 1.0]", "`tau` must have two values or more, got 1"),
        ("tau = [0, 'one']", "`tau` must be of finite numbers, got 'one'"),
        ("tau = [0, true]", "`tau` must be of finite numbers, got True"),
        ("tau = [[1, 2], 3]", "`tau` must be of finite numbers, got [1, 2]"),
        ("tau = [{low = 1, high = 2}, 3]", "`tau` must be of finite numbers, got {'low': 1, 'high': 2}"),
        ("tau = [0, -inf]", "`tau` must be of finite numbers, got -inf"),
        ("z_dim = [1, 2.5]", "`z_dim` must be of whole numbers, got 2.5"),
        ("z_dim = {low = 1, high = 2.5}", "`z_dim` must be of whole numbers, got 2.5"),
        ("[space]\ntau = [0, 1]", f"`space` must be one of {KNOWN}, got space"),
        ("beta = [0, 1]", f"`space` must be one of {KNOWN}, got beta"),
    ],
)
def test_values_of_other_kinds_in_a_file_are_refused(tmp_path: Path, text: str, message: str) -> None:
    assert_refused(message, [], toml_file(tmp_path, text))


@pytest.mark.parametrize("text", ["tau = ", "tau: [0, 1]", "tau = [0, 1", "tau = [0, 1]\ntau = [0, 2]", "{"])
def test_broken_files_are_named(tmp_path: Path, text: str) -> None:
    file = toml_file(tmp_path, text)
    assert_refused(f"`space_file` must be a TOML file, got `{file}`: ", ["tau=0,1"], file)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert_refused(f"`space_file` must be a TOML file, got `{missing}`: No such file or directory", [], missing)
    assert_refused(f"`space_file` must be a TOML file, got `{tmp_path}`: Is a directory", [], tmp_path)
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert_refused(f"`space_file` must be a TOML file, got `{image}`: ", [], image)


# Where values lie


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_that_were_asked_for(text: str) -> None:
    """In their range or set, of the field's type, and such that a member can have them."""
    space = parse_space([text])
    [(name, values)] = space.parameters.items()
    for share in shares(500):
        value = space.fields({name: at(space.distributions()[name], share)})[name]
        if isinstance(values, Choice):
            assert value in values.values
        else:
            assert values.low <= value <= values.high or (values.zero and value == 0)
        assert type(value) is (int if name == "z_dim" else float)
        assert getattr(MemberConfig(**{name: value}), name) == value


def test_rounding_does_not_leave_the_range() -> None:
    """Ends of more digits than values have are values."""
    space = parse_space(["label_rate=0.123451:0.999999", "tau=1.00004:2:log:zero"])
    axes = space.distributions()
    for share in shares(300):
        fields = space.fields({name: at(axis, share) for name, axis in axes.items()})
        assert 0.123451 <= fields["label_rate"] <= 0.999999
        assert fields["tau"] == 0 or 1.00004 <= fields["tau"] <= 2
    assert space.fields({"label_rate": 0.999999, "tau": 2.0}) == {"label_rate": 0.999999, "tau": 2.0}


def test_choices_are_not_rounded() -> None:
    space = parse_space(["tau=0.123456,0.123457,12345.6"])
    assert [space.fields({"tau": v})["tau"] for v in (0.123456, 0.123457, 12345.6)] == [0.123456, 0.123457, 12345.6]


def test_real_numbers_have_four_digits_and_no_more() -> None:
    space = parse_space(["tau=0.001:1000:log", "alpha=0:64"])
    axes = space.distributions()
    for share in shares(300):
        point = {name: at(axis, share) for name, axis in axes.items()}
        for name, value in space.fields(point).items():
            assert value == float(f"{value:.4g}")
            assert value == pytest.approx(point[name], rel=1e-3)


def test_four_digits_tell_neighbours_apart() -> None:
    space = parse_space(["tau=0.1:10:log"])
    values = [space.fields({"tau": tau})["tau"] for tau in (1.234, 1.2341, 1.235, 9.999)]
    assert values == [1.234, 1.234, 1.235, 9.999]


def test_fields_are_a_function_of_the_point() -> None:
    """So what is remembered of a suggestion names the same members again, after JSON as before."""
    space = parse_space(SEVERAL)
    axes = space.distributions()
    for share in shares(100):
        point = {name: at(axis, share) for name, axis in axes.items()}
        fields = space.fields(point)
        assert list(fields) == list(space.parameters)
        assert space.fields(json.loads(json.dumps(point))) == fields
        assert Space.from_dict(json.loads(json.dumps(space.to_dict()))).fields(point) == fields
        assert MemberConfig(**fields).content_hash == MemberConfig(**space.fields(point)).content_hash


@pytest.mark.parametrize("text", ["tau=0.1:10:log:zero", "gamma_tc=1:20:log:zero", "alpha=1e-6:1e6:log:zero"])
def test_zero_has_a_tenth_of_the_axis(text: str) -> None:
    """Below the lowest value; nothing lies between the two."""
    space = parse_space([text])
    [(name, values)] = space.parameters.items()
    count = 10_000
    drawn = [space.fields({name: at(space.distributions()[name], i / count)})[name] for i in range(count)]
    zeros = sum(value == 0 for value in drawn)
    assert zeros == pytest.approx(0.1 * count, rel=0.01)
    assert drawn[:zeros] == [0] * zeros
    assert drawn[zeros] == pytest.approx(values.low, rel=0.01)
    assert drawn[-1] == pytest.approx(values.high, rel=0.01)
    middle = drawn[zeros + (count - zeros) // 2]
    assert middle == pytest.approx(math.sqrt(values.low * values.high), rel=0.01)


def test_ranges_without_zero_never_give_it() -> None:
    space = parse_space(["tau=0.1:10:log"])
    axis = space.distributions()["tau"]
    assert (axis.low, axis.high) == (0.1, 10)
    assert min(space.fields({"tau": at(axis, share)})["tau"] for share in shares(300)) == 0.1


def test_axes_are_of_the_field_s_kind() -> None:
    space = parse_space(["tau=0.1:10", "z_dim=1:16:log", "alpha=1,64", "gamma_tc=1:20:log"])
    axes = space.distributions()
    assert axes["tau"] == FloatDistribution(0.1, 10)
    assert axes["gamma_tc"] == FloatDistribution(1, 20, log=True)
    assert axes["z_dim"] == IntDistribution(1, 16, log=True)
    assert axes["alpha"] == CategoricalDistribution((1.0, 64.0))
    assert parse_space(["z_dim=1,2"]).distributions()["z_dim"] == CategoricalDistribution((1, 2))


def test_all_that_can_be_searched_is_a_field_of_a_member() -> None:
    for name, values in itertools.product(SEARCHABLE, ["1,0.5", "0.5:1"]):
        if name != "z_dim":
            space = parse_space([f"{name}={values}"])
            assert getattr(MemberConfig(**space.fields({name: 0.5})), name) == 0.5
    assert MemberConfig(**parse_space(["z_dim=1:3"]).fields({"z_dim": 2})).z_dim == 2


def test_refusals_are_one_line_whatever_is_written() -> None:
    """Random texts are a space or an error of the user's, never another one."""
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


def test_a_range_without_room_for_zero_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^`tau` must leave room for zero below low, got low 1e-300$"):
        parse_space(["tau=1e-300:1e300:log:zero"])
