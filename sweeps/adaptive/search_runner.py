"""Runs an adaptive study: suggests, trains, stops and confirms until the search has ended."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from larvae.config import MemberConfig
from larvae.files import listed
from larvae.member_directory import MemberDirectory
from larvae.together.group import likeness
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.configurations import Configuration, Rules, Run
from sweeps.adaptive.halving import judge
from sweeps.adaptive.sampling import LEARNING, Suggestion
from sweeps.adaptive.search_options import SearchOptions
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

MOST_BLIND = 0.25
"""Share of all configurations beyond which too many are suggested at the start for a sampler to learn from results."""
RANDOM_SEARCHES = 21
"""Searches of random qualities of which a plan takes the median."""


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
    if options.plan:
        rules = _rules(options, log, resources)
        work = _work(rules, sample[-1], resources.members, _progress(settings.members_directory, rules.iterations))
        plan_study(work, settings, resources, options.price, console)
        return 0
    with held(study, options, prepared, console, adaptive.tags) as session:
        rules = _rules(options, log, resources)
        log.start(rules.parallel)
        session.announce(*_headings(adaptive, rules, log, resources))
        search, interrupted = _train(adaptive, rules, log, settings, session)
        members = tuple(run.config for configuration in search.configurations for run in configuration.runs)
        whole = dataclasses.replace(study, members=members)
        table = search_table(search, adaptive.space, directory)
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
    slots = min(_slots(prepared), rules.parallel * rules.first_seeds)
    with StudyProgress({}, rules.iterations, slots, console) as progress:
        reporter = MemberReporter(tracker, progress, directory)
        told = SearchReporter(session.study, directory, adaptive.space, tracker, progress)
        with session.reporting(reporter):
            together, has_to_go_on = resources.members, True
            while has_to_go_on:
                search = adaptive.search(rules, log)
                suggester = Suggester(search, directory, together, told, reporter, resources.places)
                settings = dataclasses.replace(settings, slots=together if together > 1 else 0)
                interrupted = _train_suggested(suggester, settings, resources, directory, reporter)
                ran_out = [member for members in reporter.out_of_memory for member in members]
                if ran_out and not interrupted:
                    interrupted = tuner.train_fewer_together(settings, resources, directory, reporter, console)
                # The search took them for failed: it is told anew, unless they have failed on a whole GPU, too.
                has_to_go_on = not interrupted and any(
                    directory.member(m).last_evaluation(rules.iterations) for m in ran_out
                )
                together = math.ceil(together / 2)
            for member in suggester.stop_finished():
                tracker.end(member.content_hash)
    return search, interrupted


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


def _rules(options: SearchOptions, log: SuggestionLog, resources: TrialResources) -> Rules:
    """The rules with as many configurations at once as are given, as earlier commands had, or as the cluster trains."""
    on_cluster = max(1, resources.concurrency() * resources.members // options.first_seeds)
    return options.rules(options.parallel or log.parallel or on_cluster)


def _headings(adaptive: AdaptiveStudy, rules: Rules, log: SuggestionLog, resources: TrialResources) -> list[str]:
    options = adaptive.options
    known = len(log.read())
    before = f", {known} of them suggested before" if known else ""
    size = f"{rules.configurations} configurations{before} × up to {rules.iterations:,} iterations"
    rungs = " and ".join(f"{rung:,}" for rung in rules.rungs)
    stopping = f"the best 1/{rules.reduction} goes on at {rungs} iterations" if rungs else "all train to the end"
    blind = min(rules.parallel, rules.configurations)
    is_late = options.sampler in LEARNING and blind > MOST_BLIND * rules.configurations
    late = f" ({blind} suggested before any result: a lower --parallel lets it learn)" if is_late else ""
    return [
        f"Search {options.study}: {size}; {at_once(resources)}",
        f"Space: {adaptive.space}",
        f"{options.sampler}{late} for held-out {' and '.join(rules.objectives)}; {stopping}; "
        f"{rules.first_seeds} to {rules.seeds} seeds each",
    ]


class _Progress(NamedTuple):
    """The training that earlier commands have done."""

    ended: Counter[int]
    """Members that have ended, by iterations: they cost nothing."""
    begun: list[int]
    """Iterations of each member that has not."""


def _work(rules: Rules, example: MemberConfig, members_per_trial: int, done: _Progress) -> Work:
    """The work that is left at most and the likely work, where configurations come in random order.

    At most all configurations train to the end, with all seeds: a better one may come each time.
    """
    most = rules.configurations * rules.seeds
    likely = likely_ends(rules)
    of_most = done._replace(ended=Counter({rules.iterations: done.ended.total()}))
    return Work(
        trials=_trials(rules, [rules.iterations] * most, members_per_trial, of_most),
        example=example,
        finished=done.ended.total(),
        members=most,
        expected=_trials(rules, likely * rules.first_seeds, members_per_trial, done, _added_seeds(rules, likely)),
        assumption="if configurations come in random order" if rules.rungs else "",
        parallel=math.ceil(rules.parallel * rules.first_seeds / members_per_trial),
    )


def likely_ends(rules: Rules) -> list[int]:
    """Iterations of each configuration by the search's own verdicts, the median of searches of random qualities.

    More than 1/reduction pass a rung: each is compared with those before it, and the first ones pass.
    """
    searches = sorted((_random_ends(rules, random.Random(seed)) for seed in range(RANDOM_SEARCHES)), key=sum)
    return sorted(searches[RANDOM_SEARCHES // 2])


def _random_ends(rules: Rules, generator: random.Random) -> list[int]:
    """Iterations of each configuration where each has one random quality, in each objective, at all rungs."""
    configurations = []
    for number in range(rules.configurations):
        values = dict.fromkeys(rules.rungs, tuple(generator.random() for _ in rules.objectives))
        run = Run(MemberConfig(), rules.iterations, values, "finished")
        configurations.append(Configuration(number, Suggestion({}, {}), [run] * rules.first_seeds))
    judge(configurations, dataclasses.replace(rules, reproducible=True))
    return [configuration.stopped_at or rules.iterations for configuration in configurations]


def _trials(
    rules: Rules, ends: list[int], members_per_trial: int, done: _Progress, added_seeds: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Iterations of the members of each trial that is left: of first seeds with these ends, and of added ones.

    Members of about the same length count as one trial's: slots are handed on, so none is long empty.
    """
    first = Counter(ends)
    added = Counter({rules.iterations: added_seeds}) - (done.ended - first)
    left = sorted(((first - done.ended) + added).elements(), reverse=True)
    for place, reached in enumerate(sorted(done.begun, reverse=True)[: len(left)]):
        left[place] = max(0, left[place] - reached)
    left.sort(reverse=True)
    return tuple(tuple(left[start : start + members_per_trial]) for start in range(0, len(left), members_per_trial))


def _added_seeds(rules: Rules, ends: Sequence[int]) -> int:
    """Seeds beyond the first: with each number of them the best 1/reduction gets another; the best of all gets all."""
    finished = ends.count(rules.iterations)
    steps = range(1, rules.seeds - rules.first_seeds + 1)
    return sum(max(1, finished // rules.reduction**step) for step in steps) if finished else 0


def _progress(members_directory: Path, iterations: int) -> _Progress:
    """The members' progress: those that were stopped have ended, those that finished at fewer iterations have not."""
    done = _Progress(Counter(), [])
    for path in listed(members_directory, "*"):
        files = MemberDirectory(path)
        result, reached = files.read_result(), files.reached()
        if result and result["status"] == "stopped":
            done.ended[result["stopped_at"]] += 1
        elif result and result["status"] == "finished" and reached >= iterations:
            done.ended[iterations] += 1
        elif reached:
            done.begun.append(reached)
    return done
