"""The headline of a report: a study and its main result in a few sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sweeps.analysis.estimates import CONFIDENCE, Interval, budgets, caution
from sweeps.analysis.names import in_order, seeds_text, written
from sweeps.analysis.parameters import in_value_order, setting_name, symbol, value_text
from sweeps.analysis.report.candidates import (
    Contrast,
    Finding,
    findings,
    higher_is_better,
    main_metrics,
)
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.tracking.mlflow_names import FAILED, FINISHED, RUNNING, SCHEDULED, STOPPED

STATUS_WORDS = {
    FINISHED: "finished",
    FAILED: "failed",
    STOPPED: "stopped before their end",
    RUNNING: "training",
    SCHEDULED: "not begun",
}
_MOST_VALUES = 12
MOST_STRATA = 2
"""Data sets and label rates of which sentences tell; of more a table does."""


class Headline(NamedTuple):
    """The study in words."""

    facts: list[tuple[str, str]]
    sentences: list[str]
    rows: list[list[str]]
    """The best of each data set and label rate, where there are several: HEADER, then a line each."""
    cautions: list[str]


HEADER = ["", "metric", "best setting", "mean ± sd", "seeds", "against the runner-up", "against the lowest value"]


def headline(record: StudyRecord) -> Headline:
    """Tell what the study is and what it found, with the care that few seeds need."""
    found = findings(record)
    strata = {setting_name(finding.stratum) for finding in found}
    is_short = len(strata) <= MOST_STRATA
    sentences = [_sentence(finding) for finding in found] if is_short else _of_strata(found)
    rows = [] if is_short else [_row(finding) for finding in found]
    return Headline(
        _facts(record), sentences or ["No member has finished yet: there is no result."], rows, _cautions(record, found)
    )


def status_counts(record: StudyRecord) -> list[tuple[str, int]]:
    """Members by status in words, finished ones first."""
    counts = record.members["status"].value_counts()
    known = [(words, int(counts[status])) for status, words in STATUS_WORDS.items() if status in counts]
    return known + [(str(status), int(count)) for status, count in counts.items() if status not in STATUS_WORDS]


def _facts(record: StudyRecord) -> list[tuple[str, str]]:
    members = record.members
    datasets = [written(name) for name in in_order(members["dataset"])]
    finished = members[members["status"] == FINISHED]
    iterations = sorted({int(number) for number in finished["iterations"]})
    states = ", ".join(f"{count:,} {words}" for words, count in status_counts(record))
    facts = [
        ("data set", ", ".join(datasets)),
        ("members", f"{len(members):,}: {states}"),
        ("iterations", f"{iterations[0]:,}" if len(iterations) == 1 else _ends(iterations)),
        ("seeds", _listed([value_text(seed) for seed in sorted(set(members["seed"]))])),
    ]
    if record.conditions:
        facts.insert(1, ("only members with", ", ".join(record.conditions)))
    if record.search:
        search = record.search
        facts.append(("search", f"{search.sampler} over {search.space}; {search.counts}"))
    for name in () if record.search else record.fields:
        values = in_value_order(members[name])
        facts.append((symbol(name), _listed([value_text(value) for value in values])))
    return [(name, text) for name, text in facts if text]


def _ends(iterations: Sequence[int]) -> str:
    return f"{iterations[0]:,} to {iterations[-1]:,}, not the same for all" if iterations else ""


def _listed(values: Sequence[str]) -> str:
    if len(values) <= _MOST_VALUES:
        return ", ".join(values)
    return f"{values[0]} to {values[-1]}, {len(values)} values"


def _sentence(finding: Finding) -> str:
    label = written(finding.metric)
    which = f"{'Highest' if higher_is_better(finding.metric) else 'Lowest'} {label}"
    where = f" with {setting_name(finding.stratum)}" if finding.stratum else ""
    text = f"{which}{where}: {mean_text(finding.interval)} ({_seeds(finding)}) at {_best_name(finding)}."
    if finding.runner_up is None:
        return f"{text} No other setting has a result."
    text += f" The runner-up ({differing(finding, finding.runner_up)}) {_behind(finding, finding.runner_up)}"
    if finding.lowest and finding.lowest.other is not finding.runner_up.other:
        text += f" The lowest {symbol(finding.parameter)}"
        text += f" ({differing(finding, finding.lowest)}) {_behind(finding, finding.lowest)}"
    return text


def differing(finding: Finding, one: Contrast) -> str:
    """The values of another setting that are not those of the best."""
    values = {name: value for name, value in one.other.values.items() if value != finding.best.values.get(name)}
    return setting_name(values) if values else one.other.name


def _best_name(finding: Finding) -> str:
    """The best setting, without what all candidates have in common."""
    if not finding.stratum:
        return finding.best.name
    return setting_name({name: value for name, value in finding.best.values.items() if name not in finding.stratum})


def _seeds(finding: Finding) -> str:
    number = len(finding.best.results[finding.metric])
    return f"{number} of {finding.best.num_planned} seeds" if number < finding.best.num_planned else seeds_text(number)


def mean_text(interval: Interval) -> str:
    """Mean and standard deviation in words."""
    return f"{interval.mean:.3f}" + ("" if math.isnan(interval.std) else f" ± {interval.std:.3f}")


def _behind(finding: Finding, one: Contrast) -> str:
    """The distance of another setting from the best in words that say how far it can be trusted."""
    sign = 1 if higher_is_better(finding.metric) else -1
    mean, *ends = (sign * value for value in (one.difference.mean, one.difference.low, one.difference.high))
    text = (
        f"is {_number(mean)} behind" if round(mean, 3) >= 0 else f"is {-mean:.3f} ahead over the seeds that both have"
    )
    if math.isnan(one.difference.low):
        why = "one seed in common" if one.num_pairs == 1 else "no seed in common"
        return f"{text}; with {why} there is no interval."
    low, high = sorted(ends)
    text += f", {100 * CONFIDENCE:g} % interval {_number(low)} to {_number(high)} over {seeds_text(one.num_pairs)}: "
    return text + ("it excludes 0." if low > 0 or high < 0 else "it includes 0, these seeds do not tell the two apart.")


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # + 0.0: zero has no sign


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _of_strata(found: Sequence[Finding]) -> list[str]:
    """Sentences on several data sets or label rates: the best of all, and how often the best of each stands apart."""
    sentences = []
    for metric in dict.fromkeys(finding.metric for finding in found):
        own = [finding for finding in found if finding.metric == metric]
        sign = 1 if higher_is_better(metric) else -1
        best = max(own, key=lambda finding: sign * finding.interval.mean)
        which = f"{'Highest' if sign > 0 else 'Lowest'} {written(metric)} of all"
        text = f"{which}: {mean_text(best.interval)} ({_seeds(best)}) at {best.best.name}. Of {len(own)} cases, a line "
        text += f"each below, the {100 * CONFIDENCE:g} % interval of the best setting excludes 0 "
        against = [_share("the runner-up", [finding.runner_up for finding in own])]
        symbols = {symbol(finding.parameter) for finding in own if finding.lowest}
        if len(symbols) == 1:
            against.append(_share(f"the lowest {symbols.pop()}", [finding.lowest for finding in own]))
        sentences.append(f"{text}{', and '.join(against)}.")
    return sentences


def _share(name: str, contrasts: Sequence[Contrast | None]) -> str:
    known = [one.difference for one in contrasts if one]
    apart = sum(one.low > 0 or one.high < 0 for one in known)
    return f"against {name} in {apart} of {len(known)}"


def _row(finding: Finding) -> list[str]:
    lowest = finding.lowest
    cells = [_cell(finding, one) if one else "–" for one in (finding.runner_up, lowest)]
    if lowest is None and finding.parameter:
        cells[1] = "it is the lowest, or the only one"
    seeds = f"{len(finding.best.results[finding.metric])}/{finding.best.num_planned}"
    return [
        setting_name(finding.stratum),
        written(finding.metric),
        _best_name(finding),
        mean_text(finding.interval),
        seeds,
        *cells,
    ]


def _cell(finding: Finding, one: Contrast) -> str:
    bounds = (
        "" if math.isnan(one.difference.low) else f" [{_signed(one.difference.low)}, {_signed(one.difference.high)}]"
    )
    return f"{_signed(one.difference.mean)}{bounds} ({differing(finding, one)})"


def _cautions(record: StudyRecord, found: Sequence[Finding]) -> list[str]:
    if not found:
        return []
    most = max(finding.num_candidates for finding in found)
    notes = []
    if most > 2:
        notes.append(
            f"The best of {most} settings was chosen by the numbers that are shown for it, and so is a little lucky; "
            "intervals do not take that into account."
        )
    fewest = min(len(finding.best.results[finding.metric]) for finding in found)
    if fewest == 1:
        notes.append("Of one seed, nothing is known of the spread.")
    elif fewest < 4:
        notes.append(f"Of {seeds_text(fewest)}, standard deviations and intervals are rough.")
    if record.search:
        return [*notes, "Values are of held-out labels, which training did not see."]
    return notes + caution(budgets(record.members, main_metrics(record)))
