"""The page of a study: what it tells, that it loads nothing, that no text of the data becomes markup, and its size."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis import report
from larvae.errors import InvalidInputError
from sweeps.analysis.report import sweep_charts, whole_page
from sweeps.analysis.report.headline import headline
from sweeps.analysis.report.member_source import member_source
from sweeps.analysis.report.page_charts import learning_note
from sweeps.analysis.report.read_kept import read_kept
from sweeps.analysis.report.study_record import Origin
from tests.analysis.invented import MIXED, Member, grid
from tests.analysis.outcome import Script
from tests.analysis.report.invented_records import contact_sheet, record

MOST_BYTES = 5_000_000
KEPT = Path(__file__).parents[3] / "docs/results/control"
LOADING = ("src", "href", "srcset", "action", "formaction", "data", "poster", "background", "ping")


class Page(HTMLParser):
    """The text that a reader sees, by section, and what the page would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {"": ""}
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self._section, self._hidden = "", False
        self.policy = ""
        self.feed(html)
        self.texts = {name: " ".join(text.split()) for name, text in self.texts.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag in ("script", "style")
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.texts[self._section] = ""
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""
        self.loaded += [value or "" for name, value in attrs if name in LOADING]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts[self._section] += f" {data}"


def seeds(mean: float, tau: float, num: int = 3) -> list[Member]:
    """Members of one setting, whose results lie .01 apart around a mean."""
    return [
        m._replace(effect=mean - 0.21 - tau / 100 + 0.009 * (m.config.seed - 1) - 0.001)
        for m in grid((tau,), (0.01,), range(num))
    ]


def test_a_grid_is_told_by_its_best_setting_and_how_far_others_are() -> None:
    page = Page(whole_page.page(record(seeds(0.3, 0) + seeds(0.35, 1) + seeds(0.34, 5))))
    result = page.texts["result"]
    assert "Highest MIG: 0.350 ± 0.010 (3 seeds) at τ = 1." in result
    assert "The runner-up (τ = 5) is 0.010 behind" in result
    assert "The lowest τ (τ = 0) is 0.050 behind" in result
    assert "Of 3 seeds, standard deviations and intervals are rough." in result
    assert "The best of 3 settings was chosen by the numbers that are shown for it" in result
    assert "9: 9 finished" in result
    assert "MIG and ℓ2 improve for τ > 0 not decidable here" in page.texts["claims"]
    assert "MIG: τ > 0 less τ = 0: +0.045" in page.texts["claims"]
    assert "All members have finished" in page.texts["missing"]
    assert "Against τ" in page.texts["curves"]
    assert "Tesla V100 9 1 h 0 min" in page.texts["cost"]
    assert "batch_size 64" in page.texts["provenance"]
    assert "No picture" in page.texts["traversals"]


def test_labelled_sets_are_no_further_seeds() -> None:
    """Nine members of three seeds are three values; a seed that lacks one of its sets is none."""
    sets = [m for label_seed in range(3) for m in grid((0, 1), (0.01,), range(3), label_seed=label_seed)]
    assert "(3 seeds)" in headline(record(sets)).sentences[0]
    ended = ["FAILED" if (m.config.seed, m.config.label_seed, m.config.tau) == (2, 1, 1) else "FINISHED" for m in sets]
    assert "(2 of 3 seeds)" in headline(record(sets, status=ended)).sentences[0]


def test_the_lowest_value_is_the_baseline_whatever_its_settings_without_effect_are() -> None:
    forms = [
        m for replacement in ("given", "inferred") for m in grid((0, 1, 5), (0.01,), (0, 1), replacement=replacement)
    ]
    members = list({m.config.content_hash: m for m in forms}.values())
    best = [0.9 if (m.config.replacement, m.config.tau) == ("inferred", 5) else m.mig for m in members]
    assert "The lowest τ (" in (text := " ".join(headline(record(members, mig=best)).sentences))
    assert "τ = 0" in text


def test_settings_that_only_one_regulariser_has_are_told_as_such() -> None:
    members = [
        m
        for name, settings in (("beta_tcvae", ()), ("annealed_vae", (5.0,)), ("annealed_vae", (25.0,)))
        for m in grid(
            (0, 1), (0.01,), (0, 1), regulariser=name, regulariser_settings=tuple(("capacity", s) for s in settings)
        )
    ]
    page = Page(whole_page.page(record(members, mig=[0.9] * 4 + [0.1] * 8)))
    assert "nan" not in page.texts["result"]
    assert "capacity = –" in page.texts["result"]
    assert "The lowest τ" in page.texts["result"]
    with pytest.raises(InvalidInputError, match="`where` must name one of 5, 25, – for capacity, got 99"):
        record(members).where(["capacity=99"])


def test_members_have_places_on_axes_of_true_and_false() -> None:
    swept = record([m for norm in (False, True) for m in grid((1,), (0.01,), (0, 1), instance_norm=norm)])
    members = member_source(swept, ["black"] * 4)
    [sweep] = sweep_charts.sweeps(swept)
    sweep_charts.figures(sweep, members)
    assert sorted(np.floor(members.source.data["place_instance_norm"])) == [0, 0, 1, 1]


def test_data_sets_that_have_other_metrics_have_a_page() -> None:
    members = [m for name in ("celeba", "dsprites") for m in grid((0, 1), (0.01,), (0, 1), dataset=name)]
    mig = [math.nan if m.config.dataset == "celeba" else m.mig for m in members]
    assert "Against τ" in Page(whole_page.page(record(members, mig=mig))).texts["curves"]


def test_one_seed_has_no_interval_and_nothing_is_claimed() -> None:
    for sentence in headline(record(seeds(0.3, 0, 1) + seeds(0.35, 1, 1))).sentences:
        assert "with one seed in common there is no interval" in sentence
        assert "excludes 0" not in sentence


def test_failures_are_told_with_reasons_and_others_are_not_hidden() -> None:
    page = Page(whole_page.page(record(MIXED)))
    missing = page.texts["missing"]
    assert "1 failed NonFiniteLossError: loss is nan τ = 0.5 η=0.01 seed 1" in missing
    assert "1 not begun" in missing
    assert "1 stopped before their end" in missing
    assert "12: 9 finished, 1 failed, 1 stopped before their end, 1 not begun" in page.texts["result"]


def test_a_study_without_a_result_has_a_page_too() -> None:
    members = [m._replace(status="FAILED", reason="killed") for m in grid((0, 1), (0.01,), (0,))]
    page = Page(whole_page.page(record(members)))
    assert "No member has finished yet" in page.texts["result"]
    assert "2 failed killed" in page.texts["missing"]
    unbegun = Page(whole_page.page(record([m._replace(status="SCHEDULED") for m in grid((0, 1), (0.01,), (0,))])))
    assert "No member has logged two rows yet" in unbegun.texts["learning"]
    assert "Not known" in unbegun.texts["cost"]


def test_nothing_is_loaded_and_only_own_scripts_run() -> None:
    """Links to runs lead to the server where there is one; all else is in the page."""
    origin = Origin("http://mlflow:5000", {}, "http://mlflow:5000/#/experiments/1/runs/")
    html = whole_page.page(record(MIXED, origin=origin, picture=contact_sheet()))
    page = Page(html)
    assert [link for link in page.loaded if not link.startswith(("#", "data:"))] == []
    assert page.policy.startswith("default-src 'none'; ")
    assert page.policy.count("'sha256-") == 3
    assert "unsafe-eval" not in page.policy
    assert page.tags.count("img") == 6
    assert not re.search(r"@import|url\((?!['\"]?data:)", html[: html.index("</style>")])


def test_texts_of_the_data_are_never_markup() -> None:
    evil = "</script><script>alert(1)</script>$$x$$<img src=x onerror=alert(1)>"
    members = [m._replace(status="FAILED", reason=evil) for m in grid((0,), (0.01,), (0,))] + grid(
        (1, 2), (0.01,), (0, 1)
    )
    origin = Origin(evil, {evil: evil}, ui_command=evil)
    html = whole_page.page(record(members, study=evil, origin=origin, device=evil, dataset=evil, name=evil))
    page = Page(html)
    assert (page.tags.count("script"), page.tags.count("img")) == (4, 0)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert evil in page.texts[""]


@pytest.mark.slow
def test_2000_members_are_not_too_large() -> None:
    members = grid(range(20), (0.01, 0.02), range(50))
    html = whole_page.page(record(members, picture=contact_sheet()))
    assert len(html.encode()) < MOST_BYTES
    assert "thinned to" not in html
    assert "2,000: 2,000 finished" in html


def test_curves_of_more_points_are_thinned_and_the_page_says_so() -> None:
    study = record(grid((0, 1), (0.01,), range(2)), num_rows=500)
    assert "Curves are thinned to 200 points each" in learning_note(study)
    members = member_source(study, [""] * 4)
    for place, name in enumerate(study.members["hash"]):
        steps, curve = members.source.data[members.steps["mig"]][place], members.source.data["mig_curve"][place]
        assert (len(steps), len(curve)) == (200, 200)
        assert (steps[0], steps[-1]) == tuple(study.trained[name].rows[end]["iteration"] for end in (0, -1))


@pytest.fixture
def reports(script: Script, tracking_uri: str) -> Script:
    return script.of(report.main, "--tracking-uri", tracking_uri)


def test_studies_and_searches_of_mlflow_and_what_is_refused(reports: Script) -> None:
    for study in ("mixed", "label-rates"):
        printed, _ = reports.succeed(f"--study {study}", study)
        assert printed.startswith(f"{study}: ")
    page = Page((reports.folder / "mixed/report.html").read_text())
    assert "mlflow ui --backend-store-uri" in page.texts["members"]
    assert "times their logged rate, without evaluations" in page.texts["cost"]
    reports.succeed("--study mixed --where tau=0 --where label_rate=0.01", "some")
    page = Page((reports.folder / "some/report.html").read_text())
    assert "only members with tau=0, label_rate=0.01 members 2: 2 finished" in page.texts["result"]
    reports.succeed("--study two-objectives", "search")
    page = Page((reports.folder / "search/report.html").read_text())
    assert "held-out MIG" in page.texts["result"]
    assert "Objectives against searched parameters" in page.texts["curves"]
    reports.refuse(
        {
            "--study nowhere": "`study` must be one of",
            "--study a --kept b": "left out with --kept",
            "--study mixed --where tau=7": "`where` must name one of 0, 0.5, 10 for tau, got 7",
            "--study two-objectives --where tau=1": "`where` must be left out for a search, got tau=1",
            "--study mixed --iterations 5": "`iterations` must be left out without --kept, got 5",
        }
    )


def test_kept_results_have_processors_and_commits(script: Script) -> None:
    printed, _ = script.of(report.main, "--kept", str(KEPT)).succeed()
    page = Page((script.folder / "figures/report.html").read_text())
    assert printed.startswith("control: 24 members, 24 finished")
    assert "AMD EPYC" in page.texts["cost"]
    assert "commits" in page.texts["provenance"]
    script.of(report.main, "--kept", str(KEPT)).succeed("--iterations 1000 --where detach_nuisance=False", "before")
    assert {row["iteration"] for one in read_kept(KEPT, 1000).trained.values() for row in one.rows} <= {*range(1001)}
    result = Page((script.folder / "before/report.html").read_text()).texts["result"]
    assert "members 21: 21 finished iterations 1,000" in result
    script.of(report.main).refuse({f"--kept {script.folder}": "must be a folder with results"})


def test_plots_have_what_perfect_codes_would_score_or_an_arrow_to_it() -> None:
    for mean, text in ((0.3, r'\u2191 ceiling .896"'), (0.88, '"ceiling .896"')):
        assert text in whole_page.page(record(seeds(mean, 0) + seeds(mean, 1)))


def test_fields_that_never_vary_alone_are_shown_by_members() -> None:
    """Of τ = 0 at α = 1 and τ = 1 at α = 2 no curve can be drawn: each has a plot of all members, without means."""
    members = grid((0,), (0.01,), range(2), alpha=1.0) + grid((1,), (0.01,), range(2), alpha=2.0)
    curves = Page(whole_page.page(record(members))).texts["curves"]
    assert "Members against τ Other fields vary too" in curves
    assert "Members against α" in curves
    assert "Settings in order" in curves
