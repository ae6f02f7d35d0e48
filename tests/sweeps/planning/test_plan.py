"""The cost of a study: from invented rows, in arithmetic, and timed once on Ray."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.hardware import processor_name
from larvae.member_directory import MemberDirectory, Row
from larvae.training import Trainer
from sweeps.planning import measuring
from sweeps.planning.cost import Cost, Execution, cost_of, kind_of, read_results
from sweeps.planning.measuring import Measured, roomiest_node
from sweeps.planning.plan import COMMAND_SECONDS, TRIAL_SECONDS, Plan, Work, _size, plan_of, plan_study
from sweeps.resources.places import Place
from sweeps.resources.shares import TrialResources
from sweeps.trial.trial_settings import TrialSettings

MEMBER = MemberConfig(batch_size=4)
SCHEDULE = Schedule(
    iterations=1000,
    log_every=50,
    evaluate_every=250,
    evaluation_size=200,
    metrics=("mig",),
    final_metrics=("mig", "l2"),
)
COST = Cost(start=8.0, iteration=0.05, evaluation=0.6, end=2.0)
EXECUTION = Execution("x86_64", True, "bfloat16")
CPU = TrialResources(1, 0)


def history(
    cost: Cost, schedule: Schedule = SCHEDULE, begins: tuple[int, ...] = (0,), held_out: bool = False
) -> list[Row]:
    """The rows of a member that takes what is given. begins: iterations at which a process took its first step."""
    rows: list[Row] = []
    now, last = 1e9, 0
    for iteration in range(schedule.log_every, schedule.iterations + 1, schedule.log_every):
        resumed = [begin for begin in begins if last <= begin < iteration]
        now += 100 * bool(resumed)
        steps = iteration - max([last, *resumed])
        training = steps * cost.iteration + cost.start * bool(resumed)
        at_end = iteration == schedule.iterations
        is_evaluated = at_end or iteration % schedule.evaluate_every == 0
        seconds = training + (cost.end if at_end else cost.evaluation) * is_evaluated
        now, last = now + seconds, iteration
        names = (schedule.metrics + schedule.final_metrics * at_end + ("held_out_l2",) * held_out) * is_evaluated
        values = dict.fromkeys(names, 0.5)
        rows.append(
            {"iteration": iteration, "loss": 1.0, **values, "seconds": seconds}
            | {"seconds_per_iteration": training / steps, "timestamp": now}
        )
    return rows


def result(cost: Cost = COST, config: MemberConfig = MEMBER, status: str = "finished", **more: Any) -> dict[str, Any]:
    rows = history(cost, held_out=config.held_out > 0, **more)
    return {"status": status, "config": config.to_dict(), "history": rows, "environment": EXECUTION._asdict()}


def test_rows_tell_what_their_member_took() -> None:
    """Whatever processes began on the way, and where held-out labels are all that is evaluated."""
    assert cost_of([result()], SCHEDULE) == pytest.approx(COST)
    assert cost_of([result(begins=(0, 130, 640, 700))], SCHEDULE) == pytest.approx(COST)
    schedule = dataclasses.replace(SCHEDULE, metrics=())
    member = result(config=dataclasses.replace(MEMBER, held_out=0.1), schedule=schedule)
    assert cost_of([member], schedule) == pytest.approx(COST)


def test_members_that_step_in_turn_share_an_iteration() -> None:
    cost = cost_of([result(), result()], SCHEDULE, sharing=2)
    assert cost is not None
    assert cost.iteration == pytest.approx(COST.iteration / 2)
    assert cost[2:] == pytest.approx(COST[2:])


def test_rows_that_lack_something_tell_nothing() -> None:
    assert cost_of([], SCHEDULE) is None
    assert cost_of([result(status="stopped")], SCHEDULE) is None  # no end
    once = dataclasses.replace(SCHEDULE, iterations=50)
    assert cost_of([result(schedule=once)], once) is None  # a single row, with compilation
    other = dataclasses.replace(SCHEDULE, metrics=("l2", "sap"))
    assert cost_of([result()], other) is None  # evaluated otherwise
    assert cost_of([result()], dataclasses.replace(other, evaluate_every=1000)) is not None  # only at the end


def test_results_are_read_by_kind_and_place(tmp_path: Path) -> None:
    baseline = dataclasses.replace(MEMBER, tau=0.0)
    wider = dataclasses.replace(MEMBER, z_dim=9)
    for config in (MEMBER, baseline, wider):
        rows = history(COST)
        directory = MemberDirectory(tmp_path / config.content_hash)
        directory.write_result(config, "finished", rows, environment=EXECUTION._asdict())
    MemberDirectory(tmp_path / "failed").write_result(MEMBER, "failed", [])
    results = read_results(tmp_path)
    assert {kind: len(there[EXECUTION]) for kind, there in results.items()} == {
        kind_of(MEMBER): 2,
        kind_of(baseline): 1,
    }


def plan(work: Work, slots: int = 2, cost: Cost = COST, price: float | None = None, **more: Any) -> Plan:
    measured = Measured({kind_of(MEMBER): cost}, **more)
    return plan_of(work, SCHEDULE, CPU, measured, slots, slots, price)


def work_of(*trials: tuple[int, ...], **more: Any) -> Work:
    return Work(trials, MEMBER, finished=0, members=sum(map(len, trials)), **more)


def seconds(made: Plan) -> float:
    assert made.seconds is not None
    return made.seconds.most


def test_seconds_are_those_of_start_iterations_evaluations_and_end() -> None:
    member = 1000 * COST.iteration + 3 * COST.evaluation + COST.end + TRIAL_SECONDS
    made = plan(work_of((1000,), (1000,), (1000,)), launch=3.0)
    assert seconds(made) == pytest.approx(COMMAND_SECONDS + 3.0 + COST.start + 2 * member)
    assert made.device_hours is not None
    assert made.device_hours.most == pytest.approx((2 * COST.start + 3 * member) / 3600)
    resumed = plan(work_of((499,)))
    rest = 499 * COST.iteration + COST.evaluation + COST.end + TRIAL_SECONDS
    assert seconds(resumed) == pytest.approx(COMMAND_SECONDS + COST.start + rest)


def test_more_slots_never_take_longer_nor_fewer_members() -> None:
    generator = random.Random(0)
    for _ in range(20):
        trials = [(generator.randrange(1, 1001),) for _ in range(generator.randrange(1, 12))]
        times = [seconds(plan(work_of(*trials), slots)) for slots in range(1, 14)]
        assert times == sorted(times, reverse=True)
        if len(trials) > 1:
            assert seconds(plan(work_of(*trials[1:]))) <= times[1] + 1e-9


def test_members_take_turns_or_share_operations_and_time_costs_the_share_that_they_hold() -> None:
    work = work_of((1000, 500))
    apart = seconds(plan(work)) - seconds(plan(work, fused=True))
    assert apart == pytest.approx(500 * COST.iteration)
    cheap, dear, free = (plan(work, price=price) for price in (1.5, 4.5, None))
    assert free.price is None
    hours = cheap.device_hours and cheap.device_hours.most
    assert [made.price and made.price.most for made in (cheap, dear)] == [1.5 * hours, 4.5 * hours]
    measured = Measured({kind_of(MEMBER): COST})
    whole, share = (
        plan_of(work, SCHEDULE, TrialResources(2, gpus), measured, 4, 4).device_hours for gpus in (1.0, 0.25)
    )
    assert share
    assert whole
    assert share.most == pytest.approx(whole.most / 4)


def test_trials_on_gpus_of_several_kinds_cost_what_they_hold_of_each() -> None:
    """Ten trials of one second, two of half a GPU and eight of an eighth: one GPU of each kind, for a second."""
    places = (Place("gpu_8GB", 0.5, 2), Place("gpu_32GB", 0.125, 8))
    assert TrialResources(1, 0.5, places=places).mean_gpus == pytest.approx(0.2)
    assert TrialResources(1, 0.5).mean_gpus == 0.5
    work, measured = work_of(*[(1000,)] * 10), Measured({kind_of(MEMBER): COST})
    mixed, one = (
        plan_of(work, SCHEDULE, TrialResources(1, 0.5, places=some), measured, 10, 10).device_hours
        for some in (places, ())
    )
    assert mixed
    assert one
    assert mixed.most == pytest.approx(0.4 * one.most)


def test_each_trial_with_a_process_of_its_own_starts_anew() -> None:
    work, measured = work_of(*[(1000,)] * 6), Measured({kind_of(MEMBER): COST})
    hours = [
        plan_of(work, SCHEDULE, TrialResources(1, 0), measured, 2, 2, reuses=reuses).device_hours
        for reuses in (True, False)
    ]
    assert hours[0]
    assert hours[1]
    assert hours[1].most - hours[0].most == pytest.approx(4 * COST.start / 3600)


def test_sizes_of_hundreds_are_written_out() -> None:
    assert [_size(number) for number in (0.0123, 4.56, 99.4, 99.6, 204.4, 12345)] == [
        *("0.012", "4.6", "99", "100", "204", "12,345")
    ]


def test_adaptive_studies_take_at_most_what_all_of_their_members_take() -> None:
    generator = random.Random(0)
    for _ in range(50):
        most = [(1000,)] * generator.randrange(1, 12)
        likely = [(generator.choice((250, 500, 1000)),) for _ in most]
        made = plan(work_of(*most, expected=tuple(likely)), price=2.0)
        for amount in (made.seconds, made.device_hours, made.price):
            assert amount is not None
            assert amount.expected is not None
            assert amount.expected <= amount.most + 1e-9


def test_kinds_cost_their_own_and_unknown_ones_as_the_slowest() -> None:
    baseline, other = dataclasses.replace(MEMBER, tau=0.0), dataclasses.replace(MEMBER, regulariser="beta_vae")
    fast = COST._replace(iteration=0.01)
    measured = Measured({kind_of(MEMBER): COST, kind_of(baseline): fast})
    times = []
    for config in (MEMBER, baseline, other):
        times.append(seconds(plan_of(work_of((1000,), configs=((config,),)), SCHEDULE, CPU, measured, 1, 1)))
    assert times[0] - times[1] == pytest.approx(1000 * 0.04)
    assert times[2] == times[0]


def test_examples_are_one_a_kind_the_largest_first() -> None:
    baseline, wider = dataclasses.replace(MEMBER, tau=0.0), dataclasses.replace(MEMBER, z_dim=9)
    beta_vae = dataclasses.replace(MEMBER, regulariser="beta_vae")
    configs = ((beta_vae,), (baseline,), (baseline,), (MEMBER,))
    work = Work(((1000,),) * 4, wider, finished=0, members=4, configs=configs)
    assert work.examples() == [wider, baseline, beta_vae]


def settings_of(tmp_path: Path, dataset: Dataset) -> TrialSettings:
    return TrialSettings(
        schedule=dataclasses.replace(SCHEDULE, metrics=("mig", "l2")),
        members_directory=tmp_path / "members",
        prepared_files={},
        fingerprints={"dsprites": dataset.fingerprint},
        cpus=1,
        gpus=0,
        compile=False,
    )


def printed(work: Work, settings: TrialSettings, price: float | None = None) -> str:
    output = io.StringIO()
    console = Console(file=output, width=200)
    plan_study(work, settings, CPU, price, console)
    return output.getvalue()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_trial_is_timed_and_leaves_nothing(tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "TIMED_SECONDS", 0.5)
    settings = settings_of(tmp_path, dataset)
    assert roomiest_node(CPU)[1] == 2
    work = Work(((1000,), (1000,)), MEMBER, finished=2, members=4)
    text = printed(work, settings, price=2.5)
    assert list(tmp_path.iterdir()) == []
    for line in (
        "members      4 (2 finished before): 2 to train × 1,000 iterations",
        "trials       2 of 1 member, 2 at once, 1 CPU each",
        "0.38 GB of images shared by all of a node",
        "disk         17 MB a member, 0.066 GB for all 4",
        "timed now on this cluster",
        "CPU core hours",
        "at 2.50 an hour",
    ):
        assert line in text
    assert "unknown" not in text


@pytest.mark.usefixtures("ray_session")
def test_where_no_trial_can_be_timed_ended_members_tell_or_nothing(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no room\nfor a trial")

    monkeypatch.setattr(measuring, "_ask", refuse)
    settings = settings_of(tmp_path, dataset)
    nothing = printed(Work((), MEMBER, finished=4, members=4), settings)
    assert nothing == "members      4, all finished: nothing to train\n"
    work = Work(((1000,), (1000,)), MEMBER, finished=2, members=4)
    text = printed(work, settings, price=2.5)
    assert "time         unknown, as no trial could be timed: RuntimeError: no room\n" in text
    assert "hour" not in text
    directory = MemberDirectory(settings.members_directory / MEMBER.content_hash)
    rows = history(COST, settings.schedule)
    directory.write_result(MEMBER, "finished", rows, environment=EXECUTION._asdict())
    text = printed(work, settings)
    assert "0.05 s an iteration, 0.6 s an evaluation, 2 s at a member's end: as 1 member of this study took" in text
    assert "none could be timed now: RuntimeError: no room" in text


def in_this_process(questions: Any, trials: int, settings: TrialSettings, resources: TrialResources) -> Any:
    return [measuring._time_trial(questions, settings)], 1.0


def test_what_ended_members_tell_is_not_timed_again(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_ask", in_this_process)
    monkeypatch.setattr(measuring, "TIMED_SECONDS", 0.1)
    settings, baseline = settings_of(tmp_path, dataset), dataclasses.replace(MEMBER, tau=0.0)
    here, slow = Execution(processor_name(), False, "float32"), Cost(*(1e4 * value for value in COST))
    for execution, config in ((here, MEMBER), (EXECUTION, baseline)):
        directory = MemberDirectory(settings.members_directory / config.content_hash)
        rows = history(slow, settings.schedule)
        directory.write_result(config, "finished", rows, environment=execution._asdict())
    measured = measuring.measure([MEMBER, baseline], 1, 1, settings, CPU)
    assert (measured.timed, measured.ended) == (1, 1)  # the baseline was trained elsewhere
    parameters = 4 * sum(parameter.numel() for parameter in Trainer(MEMBER, dataset).parameters.values())
    assert measured.disk_bytes == pytest.approx(2 * 3 * parameters, rel=0.1)  # with two moments; and the one before
    assert measured.costs[kind_of(MEMBER)][1:] == pytest.approx(slow[1:])
    assert measured.costs[kind_of(MEMBER)].start < slow.start  # it is timed, as the cache may be warm by now
    assert measured.costs[kind_of(baseline)].iteration < slow.iteration


def test_a_slow_metric_is_timed_on_fewer_images_and_belongs_to_the_evaluations_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "computation", lambda name: lambda sample, _: taken.append(len(sample.codes)))
        patch.setattr(measuring.time, "perf_counter", iter((1.0, 4.0)).__next__)
        assert measuring._time_metric("dci", MEMBER, 10_000) == pytest.approx(20 * 3.0)
    assert taken == [10_000 // 20]
    timing = measuring._Timing(1.0, EXECUTION, SCHEDULE, [result()], {"dci": 60.0})
    settings = TrialSettings(SCHEDULE, Path(), {}, {}, cpus=1, gpus=0, compile=True)
    for metrics, evaluation in ((("mig",), COST.evaluation), (("mig", "dci"), COST.evaluation + 60)):
        for gpus, end in ((0.0, COST.end + 60), (0.5, 0.0)):  # who holds a GPU leaves the end to others
            given = dataclasses.replace(settings, schedule=dataclasses.replace(SCHEDULE, metrics=metrics), gpus=gpus)
            cost = measuring._cost_of_timings([timing], given, 1)
            assert cost is not None
            assert (cost.evaluation, cost.end) == pytest.approx((evaluation, end))
    schedule = dataclasses.replace(SCHEDULE, metrics=("mig",), evaluation_samples=3)
    cost = measuring._cost_of_timings([timing], dataclasses.replace(settings, schedule=schedule), 1)
    assert cost is not None
    assert (cost.evaluation, cost.end) == pytest.approx((COST.evaluation, COST.end + 3 * 60))  # of the last one alone
