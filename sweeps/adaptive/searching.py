"""An adaptive study: which members train next, and which configurations are stopped.

A configuration starts with its first seeds. At rungs it is compared with others and stopped unless it is among the
best (`halving`). Seeds are rungs too: a configuration gets another one while it is among the best of those that have
as many, and the best of all gets all. It is judged by its mean over seeds.

**Reproducible.** What a suggestion may know is told by a clock that counts iterations, not seconds: `parallel` jobs
run at a time, each as long as it trains. So the same configurations come about whatever the timing, killed and
resumed or not. The price: the clock waits for stragglers, and a configuration trains on while a verdict is open.
With `reproducible=False` it is whatever is known at the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from larvae.config import MemberConfig
from larvae.member_directory import Row
from sweeps.adaptive import halving
from sweeps.adaptive.configurations import Configuration, Job, Rules, Run, means
from sweeps.adaptive.objectives import front, scores
from sweeps.adaptive.sampling import Observation, Suggestion

ATTEMPTS = 200
"""Attempts at a configuration that is not there yet, before the space counts as exhausted."""


class Search:
    """The state of an adaptive study: told of rows and ends, asked for members to train."""

    def __init__(
        self,
        rules: Rules,
        ask: Callable[[int, Sequence[Observation], int], Suggestion],
        member: Callable[[Suggestion, int], MemberConfig],
        remembered: Iterable[Suggestion] = (),
        remember: Callable[[int, Suggestion], None] = lambda number, suggestion: None,
    ) -> None:
        """ask: the sampler's suggestion of a number, what is known, and an attempt. member: of a suggestion and a seed.

        remembered: what earlier commands were suggested. remember: called with each new number and suggestion.
        """
        self.rules = rules
        self.configurations: list[Configuration] = []
        self.is_exhausted = False
        """True if the space has no other configuration left."""
        self._ask, self._member, self._remember = ask, member, remember
        self._remembered = list(remembered)
        self._of: dict[str, tuple[Configuration, Run]] = {}
        self._jobs: list[Job] = []
        self._clock = 0

    def next(self) -> list[MemberConfig] | None:
        """Members of one configuration to train now; None while there are none: `is_done`, or to wait."""
        while True:
            if len(self._jobs) < self.rules.parallel and (job := self._new_job()):
                self._jobs.append(job)
                return [run.config for run in job.runs]
            if not self._let_time_pass():
                return None

    @property
    def is_done(self) -> bool:
        """True if nothing is left to train, after `next` has given None."""
        return not self._jobs

    def observe(self, member: str, rows: Iterable[Row]) -> None:
        """A member, by content hash, has trained on."""
        _, run = self._of[member]
        for row in rows:
            run.reached = max(run.reached, int(row["iteration"]))
            if (values := self.rules.objective_values(row)) is not None:
                run.values[int(row["iteration"])] = values
        halving.judge(self.configurations, self.rules)

    def end(self, member: str, status: str, stopped_at: int | None = None) -> None:
        """A member has finished or failed, or was stopped at a rung by an earlier command."""
        configuration, run = self._of[member]
        run.status = status
        configuration.stopped_at = configuration.stopped_at or stopped_at
        halving.judge(self.configurations, self.rules)

    def configuration_of(self, member: str) -> Configuration:
        return self._of[member][0]

    def results(self) -> list[Observation]:
        """The results of all configurations so far."""
        return [self._observation(configuration, ()) for configuration in self.configurations]

    def best(self) -> list[Observation]:
        """The finished configuration of the best mean; with two objectives, those that no other dominates."""
        return self._front(self.results())

    def num_seeds(self, number: int) -> int:
        """Finished runs of a configuration."""
        return sum(run.status == "finished" for run in self.configurations[number].runs)

    def _new_job(self) -> Job | None:
        known = self._known()
        if configuration := self._promoted(known):
            return self._job_of_next_seed(configuration)
        if configuration := self._new_configuration(known):
            return Job(configuration, configuration.first, self._clock)
        if configuration := self._to_confirm(known):
            return self._job_of_next_seed(configuration)
        return None

    def _new_configuration(self, known: Sequence[Observation]) -> Configuration | None:
        number = len(self.configurations)
        if number >= self.rules.configurations or self.is_exhausted:
            return None
        suggestion = self._remembered[number] if number < len(self._remembered) else self._suggest(number, known)
        if suggestion is None:
            self.is_exhausted = True
            return None
        runs = [Run(self._member(suggestion, seed)) for seed in range(self.rules.first_seeds)]
        configuration = Configuration(number, suggestion, runs)
        self.configurations.append(configuration)
        self._of |= {run.config.content_hash: (configuration, run) for run in runs}
        return configuration

    def _suggest(self, number: int, known: Sequence[Observation]) -> Suggestion | None:
        """A suggestion whose members are none that are there already."""
        for attempt in range(ATTEMPTS):
            suggestion = self._ask(number, known, attempt)
            if self._member(suggestion, 0).content_hash not in self._of:
                self._remember(number, suggestion)
                return suggestion
        return None

    def _promoted(self, known: Sequence[Observation]) -> Configuration | None:
        """A configuration that is among the best of those with as many seeds or more, and has room for another."""
        finished = [o for o in known if o.status == "finished"]
        for count in range(self.rules.first_seeds, self.rules.seeds):
            peers = [o for o in finished if self._seeds_known(o) >= count]
            for observation in self._best_part(peers):
                configuration = self.configurations[observation.number]
                if len(configuration.runs) == count == self._seeds_known(observation):
                    return configuration
        return None

    def _best_part(self, peers: list[Observation]) -> list[Observation]:
        """The best 1/reduction; with two objectives, the front, once there are enough to speak of one."""
        if len(self.rules.objectives) > 1:
            return self._front(peers) if len(peers) >= self.rules.reduction else []
        ordered = sorted(peers, key=lambda o: scores(o.values, self.rules.objectives), reverse=True)
        return ordered[: len(peers) // self.rules.reduction]

    def _to_confirm(self, known: Sequence[Observation]) -> Configuration | None:
        """One of the best configurations that lacks seeds, at the end; None before, or where none lacks any."""
        if any(job.is_first for job in self._jobs):
            return None
        best = [self.configurations[o.number] for o in self._front(known)]
        return next((c for c in best if len(c.runs) < self.rules.seeds), None)

    def _job_of_next_seed(self, configuration: Configuration) -> Job:
        run = Run(self._member(configuration.suggestion, len(configuration.runs)))
        configuration.more.append(run)
        self._of[run.config.content_hash] = configuration, run
        return Job(configuration, [run], self._clock)

    def _let_time_pass(self) -> bool:
        """Put the clock to the next end of a job; False while that is open."""
        ends = {id(job): job.end(self.rules) for job in self._jobs}
        known = [end for end in ends.values() if end is not None]
        if not known:
            return False
        if self.rules.reproducible:
            now = min(known)
            if any(ends[id(job)] is None and job.earliest_end(self.rules) <= now for job in self._jobs):
                return False
            self._clock = now
        else:
            now = max(known)
        self._jobs = [job for job in self._jobs if (end := ends[id(job)]) is None or end > now]
        return True

    def _known(self) -> list[Observation]:
        """The observations that a suggestion may know now."""
        pending = [run for job in self._jobs for run in job.runs]
        return [self._observation(configuration, pending) for configuration in self.configurations]

    def _observation(self, configuration: Configuration, pending: Sequence[Run]) -> Observation:
        number, (point, attributes) = configuration.number, configuration.suggestion
        if configuration.stopped_at is not None and configuration.first[0] not in pending:
            values = configuration.values_at(configuration.stopped_at) or ()
            return Observation(number, point, attributes, "stopped", values, configuration.stopped_at)
        runs = [run for run in configuration.runs if run.status != "open" and run not in pending]
        if any(run.status == "failed" for run in runs):
            return Observation(number, point, attributes, "failed", (), 0)
        if len(runs) < self.rules.first_seeds:
            return Observation(number, point, attributes, "running", (), 0)
        values = means(run.values[max(run.values)] for run in runs)
        return Observation(number, point, attributes, "finished", values, 0)

    def _seeds_known(self, observation: Observation) -> int:
        """Seeds of a finished configuration that an observation knows."""
        pending = [run for job in self._jobs for run in job.runs]
        runs = self.configurations[observation.number].runs
        return sum(run.status != "open" and run not in pending for run in runs)

    def _front(self, observations: Iterable[Observation]) -> list[Observation]:
        """The finished ones that no other dominates."""
        return front([o for o in observations if o.status == "finished"], self.rules.objectives)
