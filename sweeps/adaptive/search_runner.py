"""Runs an adaptive study: suggests, trains, stops and confirms until the search has ended."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from larvae.config import MemberConfig
from larvae.files import listed
from larvae.member_directory import MemberDirectory
from larvae.together.group import likeness
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.search_reporter import SearchReporter, search_table
from sweeps.adaptive.searching import Search
from sweeps.adaptive.suggesting import Suggester
from sweeps.adaptive.suggestion_log import SuggestionLog
from sweeps.console.progress import StudyProgress
from sweeps.console.terminal import new_console
from sweeps.driver import tuner
from sweeps.driver.member_reporter import MemberReporter
from sweeps.outcome import outcome
from sweeps.planning.plan import Work, plan_study
from sweeps.preparation import Prepared, Trials, prepare, trial_settings
from sweeps.resources.shares import TrialResources
from sweeps.runner import at_once
from sweeps.session import Session, held
from sweeps.study import StudyDirectory
from sweeps.trial.trial_settings import TrialSettings


def run_search(adaptive: AdaptiveStudy) -> int:
    """Run a search to its end, or go on with it. Returns the exit code: 0, 1 with failed members, 130 interrupted.

    Raises InvalidInputError before anything is written.
    """
    options, study = adaptive.options, adaptive.study
    sample = [member for seed in range(options.first_seeds) for member in adaptive.corners(seed)]
    console = new_console()
    prepared = prepare(study, options, _trials_to_do(adaptive, sample), console)
    settings, resources, directory = trial_settings(study, options, prepared), prepared.resources, prepared.directory
    log = SuggestionLog(directory.path / "suggestions.jsonl")
    rules = options.rules(options.parallel or log.parallel or _parallel(resources, options.first_seeds))
    if options.plan:
        work = _work(rules, sample[-1], resources.members, _ended(settings.members_directory))
        plan_study(work, settings, resources, settings.members_directory, options.price, console)
        return 0
    with held(study, options, prepared, console, adaptive.tags) as session:
        log.start(rules.parallel)
        session.announce(*_headings(adaptive, rules, log, resources))
        search, interrupted = _train(adaptive, rules, log, settings, session)
        members = tuple(run.config for configuration in search.configurations for run in configuration.runs)
        whole = dataclasses.replace(study, members=members)
        table = search_table(search, options.chosen_space, directory)
        return session.close(outcome(whole, directory)._replace(table=table), interrupted=interrupted)


def _trials_to_do(adaptive: AdaptiveStudy, sample: Sequence[MemberConfig]) -> Trials:
    """The trials of a search: its members train together, as many as are alike where it ends a first time."""
    total = adaptive.options.configurations * adaptive.options.first_seeds
    kinds = len({likeness(member) for member in sample})

    def sizes(_: StudyDirectory, members: int) -> list[int]:
        whole, rest = divmod(total, members)
        return [members] * whole + [rest] * bool(rest)

    return Trials(sample, math.ceil(total / kinds), total, sizes)


def _train(
    adaptive: AdaptiveStudy, rules: Rules, log: SuggestionLog, settings: TrialSettings, session: Session
) -> tuple[Search, bool]:
    """Train what the search suggests; its state at the end, and whether the user stopped it."""
    prepared, tracker, console = session.prepared, session.tracker, session.console
    directory, resources = prepared.directory, prepared.resources
    with StudyProgress({}, rules.iterations, _slots(prepared), console) as progress:
        reporter = MemberReporter(tracker, progress, directory)
        told = SearchReporter(session.study, directory, adaptive.options.chosen_space, tracker, progress)
        with session.reporting(reporter):
            for together in (resources.members, math.ceil(resources.members / 2)):  # again where memory ran out
                search = adaptive.search(rules, log)
                suggester = Suggester(search, directory, together, told, reporter, resources.places)
                slots = together if together > 1 else 0
                settings = dataclasses.replace(settings, slots=slots)
                interrupted = _train_suggested(suggester, settings, resources, directory, reporter)
                if interrupted or not reporter.out_of_memory:
                    break
                interrupted = tuner.train_fewer_together(settings, resources, directory, reporter, console)
    return suggester.search, interrupted


def _train_suggested(
    suggester: Suggester,
    settings: TrialSettings,
    resources: TrialResources,
    directory: StudyDirectory,
    reporter: MemberReporter,
) -> bool:
    """Train what a search suggests until it has ended; True if the user stopped it."""
    if not suggester.has_ended:
        tuner.fit(suggester, settings, resources, directory, reporter, suggester.stopper())
    interrupted = bool(reporter.open) or not suggester.has_ended
    reporter.stop()
    return interrupted


def _slots(prepared: Prepared) -> int:
    return prepared.resources.concurrency() * prepared.resources.members


def _parallel(resources: TrialResources, first_seeds: int) -> int:
    """Configurations that the cluster trains at once."""
    return max(1, resources.concurrency() * resources.members // first_seeds)


def _headings(adaptive: AdaptiveStudy, rules: Rules, log: SuggestionLog, resources: TrialResources) -> list[str]:
    options = adaptive.options
    known = len(log.read())
    before = f", {known} of them suggested before" if known else ""
    size = f"{rules.configurations} configurations{before} × up to {rules.iterations:,} iterations"
    rungs = " and ".join(f"{rung:,}" for rung in rules.rungs)
    stopping = f"the best 1/{rules.reduction} goes on at {rungs} iterations" if rungs else "all train to the end"
    return [
        f"Search {options.study}: {size}; {at_once(resources)}",
        f"Space: {options.chosen_space}",
        f"{options.sampler} for held-out {' and '.join(rules.objectives)}; {stopping}; "
        f"{rules.first_seeds} to {rules.seeds} seeds each",
    ]


def _work(rules: Rules, example: MemberConfig, members_per_trial: int, ended: Counter[int]) -> Work:
    """The work that is left at most, where all train to the end, and the likely work, where each rung stops its share.

    ended: how many members have ended in earlier commands, by iterations; they cost nothing.
    """
    ends = [rules.iterations] * rules.configurations
    all_ended = Counter({rules.iterations: ended.total()})
    return Work(
        trials=_trials(rules, ends, members_per_trial, all_ended),
        example=example,
        finished=ended.total(),
        members=rules.configurations * rules.first_seeds + _added_seeds(rules, rules.configurations),
        expected=_trials(rules, likely_ends(rules), members_per_trial, ended),
        assumption=f"if each rung stops {1 - 1 / rules.reduction:.0%}" if rules.rungs else "",
        parallel=math.ceil(rules.parallel * rules.first_seeds / members_per_trial),
    )


def likely_ends(rules: Rules) -> list[int]:
    """Iterations of each configuration, where each rung lets the best 1/reduction go on."""
    ends: list[int] = []
    left = rules.configurations
    for rung in rules.rungs:
        going_on = max(1, round(left / rules.reduction))
        ends += [rung] * (left - going_on)
        left = going_on
    return ends + [rules.iterations] * left


def _trials(rules: Rules, ends: list[int], members_per_trial: int, ended: Counter[int]) -> tuple[tuple[int, ...], ...]:
    """Iterations of the members of each trial that is left: of configurations with these ends, and of added seeds.

    Members of about the same length count as one trial's: slots are handed on, so none is long empty.
    """
    first = Counter(ends * rules.first_seeds)
    added = Counter({rules.iterations: _added_seeds(rules, ends.count(rules.iterations))}) - (ended - first)
    left = sorted(((first - ended) + added).elements(), reverse=True)
    return tuple(tuple(left[start : start + members_per_trial]) for start in range(0, len(left), members_per_trial))


def _added_seeds(rules: Rules, finished: int) -> int:
    """Seeds beyond the first: with each number of them the best 1/reduction gets another; the best of all gets all."""
    steps = range(1, rules.seeds - rules.first_seeds + 1)
    return sum(max(1, finished // rules.reduction**step) for step in steps) if finished else 0


def _ended(members_directory: Path) -> Counter[int]:
    """The number of members that have ended, by the iteration at which they finished or were stopped."""
    results = [MemberDirectory(path.parent).read_result() for path in listed(members_directory, "*/result.json")]
    known = [result for result in results if result and result["status"] in ("finished", "stopped")]
    return Counter(int(result.get("stopped_at") or result["history"][-1]["iteration"]) for result in known)
