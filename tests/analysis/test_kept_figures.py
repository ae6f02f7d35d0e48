"""Pictures that tell which numbers they show: drawn anew the same, and found out where the numbers have changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import kept_figures
from larvae.errors import InvalidInputError
from larvae.files import load_json, save_json
from sweeps.analysis.claims.claims_report import Judgement
from sweeps.analysis.claims.paper_claims import CLAIMS
from sweeps.analysis.claims.verdicts import UNDECIDED
from sweeps.analysis.docs.findings_tables import cases_table, claims_table, studies_table
from sweeps.analysis.docs.kept_pictures import kept_pictures
from sweeps.analysis.docs.kept_results import KeptResults
from sweeps.analysis.docs.kept_tables import pages_with_tables
from sweeps.analysis.docs.tau_table import tau_table
from sweeps.analysis.docs.written_pages import require_written, with_table
from sweeps.analysis.drawn import Drawn, csv_files, require_up_to_date
from sweeps.analysis.estimates import mean_interval
from sweeps.kept.kept_studies import STUDIES
from tests.analysis.outcome import Script

ROOT = Path(__file__).parents[2]
TRAVERSALS = {f"docs/traversals_{name}.png" for name in ("dsprites", "shapes3d-rendered")}
WITHOUT_NUMBERS = {"docs/shapes3d-rendered.png", *TRAVERSALS}
"""Pictures of images; traversals are of members whose checkpoints are not kept."""
OF_BENCHMARKS = {"docs/scaling.png", "docs/search_pays.png"}


def drawn(number: float) -> Drawn:
    return Drawn({"picture": lambda: Figure(figsize=(1, 1))}, {"numbers.csv": f"x\n{number}\n".encode()})


def test_the_last_bits_of_another_processor_are_no_other_numbers() -> None:
    def content(*values: float) -> dict[str, bytes]:
        return csv_files({"numbers.csv": pd.DataFrame({"name": "a", "seeds": 3, "value": values})})

    assert content(0.1 + 0.2, 1e-17, 1 / 3) == content(0.3, -0.0, 1 / 3 + 1e-16)
    assert content(0.3, 0.0, 1 / 3) != content(0.3, 1e-9, 1 / 3) != content(0.3, 1e-9, 0.333333333)


def test_a_picture_is_of_its_numbers_and_no_others(tmp_path: Path) -> None:
    contents = drawn(1).contents()
    assert list(contents) == ["picture.png", "picture.pdf", "numbers.csv"]
    assert drawn(1).digest.encode() in contents["picture.pdf"]
    assert drawn(1).contents() == contents
    path = tmp_path / "picture.png"
    path.write_bytes(contents["picture.png"])
    require_up_to_date(path, drawn(1))
    for wrong in (drawn(2), drawn(1)._replace(numbers={"other.csv": b"x\n1\n"})):
        with pytest.raises(
            InvalidInputError, match=f"must show numbers {wrong.digest}, got {drawn(1).digest}: `make f"
        ):
            require_up_to_date(path, wrong)
    for content in (b"no picture", contents["picture.png"][:100]):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="must be a picture"):
            require_up_to_date(path, drawn(1))
    with pytest.raises(InvalidInputError, match="must be a picture"):
        require_up_to_date(tmp_path / "none.png", drawn(1))


@pytest.mark.slow
def test_a_changed_result_is_found_out_until_the_pictures_are_drawn_anew(tmp_path: Path, script: Script) -> None:
    shutil.copytree(ROOT / "docs/results", tmp_path / "results")
    figures = script.of(kept_figures.main, "--results", str(tmp_path / "results"))
    figures.succeed()
    figures.succeed("--check")
    path = next((tmp_path / "results/control").glob("*.json"))
    result = load_json(path)
    result["history"][-1]["mig"] += 0.001
    save_json(path, result)
    figures.main([*figures.always, "--output", str(figures.folder / "figures"), "--check"])
    assert "controls.png` must show numbers" in figures.capsys.readouterr().err
    figures.succeed()
    figures.succeed("--check")


@pytest.fixture(scope="module")
def kept() -> KeptResults:
    return KeptResults(ROOT / "docs/results")


def test_each_case_is_counted_once_beside_its_claim(kept: KeptResults) -> None:
    rows = [line.strip("| ").split(" | ") for line in claims_table(kept.verdicts).splitlines()[2:]]
    assert len(rows) == len(CLAIMS)
    counted = sum(int(cell) for row in rows for cell in row[2:5] if cell.strip())
    assert counted == sum(bool(one.evidence) for one in kept.verdicts) > 0
    assert len(cases_table(kept.verdicts).splitlines()) == 2 + len(kept.verdicts)


def test_the_table_of_taus_is_of_seeds_that_have_them_all(kept: KeptResults) -> None:
    members = kept.courses["study"].end
    rows = [line.strip("| ").split(" | ") for line in tau_table(members).splitlines()[2:]]
    assert [row[:3] for row in rows[:4]] == [["MIG", a, eta] for a in ("1", "64") for eta in ("1 %", "2 %")]
    of_rate = members[(members["label_rate"] == 0.01) & (members["z_dim"] == 5) & (members["alpha"] == 64)]
    assert rows[2][3] == "3"
    assert rows[2][-1] == f"{of_rate.loc[of_rate['tau'] == 10, 'mig'].mean():.3f}"
    gone = members[~((members["seed"] == 2) & (members["tau"] == 10))]
    assert tau_table(gone).splitlines()[4].split(" | ")[3] == "2"
    assert " | 0 | – | – |" in tau_table(members[members["tau"] != 10].assign(mig=float("nan")))


def test_studies_are_told_with_members_that_have_ended(kept: KeptResults, tmp_path: Path) -> None:
    table = studies_table(kept)
    for name, course in kept.courses.items():
        assert f"| `{name}` | {len(course.end)} of {len(STUDIES[name]().members)} | " in table
    assert studies_table(KeptResults(tmp_path)).count("| 0 of ") == len(STUDIES)


def test_pages_show_the_tables_of_kept_results(kept: KeptResults) -> None:
    pages = pages_with_tables(kept, ROOT / "docs")
    assert [path.name for path in pages] == ["findings.md", "what-decides-the-curve.md", "controls.md"]
    for path, page in pages.items():
        require_written(path, page)
        with pytest.raises(InvalidInputError, match="must show the numbers of kept results: `make figures`"):
            require_written(path, re.sub(r"\d \|", "7.5 |", page, count=1))
    with pytest.raises(InvalidInputError, match="must have one place for its table, got 0"):
        with_table("no place", "")


def test_readme_tells_the_numbers_of_kept_results(kept: KeptResults) -> None:
    """MIG, ℓ2 and their gain, as README's paragraph words them, and how many cases are decided."""
    [paragraph] = re.findall(r"\*\*What we found\.\*\* (.*?)\n\n", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    study, shapes = kept.courses["study"].end, kept.courses["look-alike"].end

    def of(members: pd.DataFrame, metric: str, label_rate: float = 0.01, **fields: float) -> pd.Series[float]:
        chosen = members[(members["label_rate"] == label_rate) & members[list(fields)].eq(fields).all(axis=1)]
        assert len(chosen) == 3
        return chosen.set_index("seed")[metric].sort_index()

    without, larvae, strong = (of(study, "mig", z_dim=5, alpha=a, tau=t) for a, t in ((1, 0), (1, 10), (64, 0)))
    gain = mean_interval(list(larvae - without))
    numbers = [
        *(without.mean(), larvae.mean(), gain.mean, gain.low, gain.high, strong.mean()),
        *(of(study, "l2", z_dim=5, alpha=a, tau=t).mean() for a, t in ((64, 0), (1, 10))),
        *(of(study, metric, 0.02, z_dim=5, alpha=64, tau=tau).mean() for metric in ("mig", "l2") for tau in (0, 10)),
        of(study, "mig", z_dim=0, alpha=1, tau=1).mean(),
        *(of(shapes, "mig", tau=tau).mean() for tau in (0, 1)),
    ]
    assert re.findall(r"(?<=\s|\[)\.\d+", paragraph) == [f"{number:.2f}".lstrip("0") for number in numbers]
    judged = [one for one in kept.verdicts if one.evidence]
    decided = sum(one.verdict != UNDECIDED for one in judged)
    assert f"{decided} of {len(judged)} cases" in " ".join(paragraph.split())


def test_every_picture_of_docs_is_drawn_by_make_figures_or_known_to_have_no_numbers(
    kept: KeptResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures' names are asked for alone: they are the same however many iterations on the way are judged."""
    two = Judgement(kept.verdicts, dict.fromkeys((5_000, 10_000), kept.verdicts))
    monkeypatch.setitem(vars(kept), "judgement", two)  # later tests have the true one
    assert "analysis/kept_figures.py --check" in (ROOT / "Makefile").read_text()
    names = {name for drawn in kept_pictures(kept) for name in drawn.figures}
    pictures = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.png")}
    assert pictures == {f"docs/{name}.png" for name in names} | OF_BENCHMARKS | WITHOUT_NUMBERS
