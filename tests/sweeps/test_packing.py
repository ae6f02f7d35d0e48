from __future__ import annotations

import pytest

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.resources import shares
from sweeps.resources.probe import Measurement, Outcome, probe_gpu_memory
from sweeps.resources.shares import TrialResources, gpu_fraction, trial_resources


def test_unknown_trials_are_six_to_a_16_gb_card() -> None:
    assert gpu_fraction(None, None) == 1 / 6
    assert gpu_fraction(None, 32e9) == 1 / 12
    assert gpu_fraction(None, 11e9) == 1 / 4


def test_measured_trials_fit_with_room_to_spare() -> None:
    for trial, card in ((1e9, 16e9), (1.9e9, 11e9), (3e9, 80e9)):
        trials = round(1 / gpu_fraction(trial, card))
        assert trials * trial <= card < (trials + 1) * trial * 1.2
    assert gpu_fraction(40e9, 16e9) == 1  # never more than a whole card is asked for


@pytest.mark.usefixtures("ray_session")
def test_gpus_without_cuda_measure_nothing_and_give_the_default() -> None:
    assert probe_gpu_memory(MemberConfig(batch_size=2), 1, print) == Measurement(Outcome.NO_CUDA)
    resources = trial_resources(1, None, None, [MemberConfig(batch_size=2)])
    assert resources == TrialResources(1, 1 / 6)
    resources.require_fitting()
    assert resources.concurrency() == 2  # the CPUs are what limits it
    assert TrialResources(1, 2).concurrency() == 1


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("resources", [TrialResources(3, 0), TrialResources(1, 3)])
def test_trial_that_no_node_holds_is_refused(resources: TrialResources) -> None:
    rule = f"fit on one node, got {resources.cpus} CPUs and {resources.gpus:g} GPUs where nodes have at most 2 and 2"
    with pytest.raises(InvalidInputError, match=rule):
        resources.require_fitting()


@pytest.mark.parametrize("trials", range(1, 13))
@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_concurrency_counts_every_share_of_every_gpu(trials: int, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 1000.0, "GPU": float(gpus)})
    assert TrialResources(1, 1 / trials).concurrency() == trials * gpus


@pytest.mark.parametrize(
    ("resources", "cluster", "number"),
    [
        (TrialResources(1, 0), {"CPU": 8}, 8),
        (TrialResources(3, 0), {"CPU": 8}, 2),
        (TrialResources(1, 0), {"CPU": 8, "GPU": 1}, 8),
        (TrialResources(1, 0.25), {"CPU": 2, "GPU": 1}, 2),
        (TrialResources(1, 2), {"CPU": 64, "GPU": 5}, 2),
        (TrialResources(1, 0.6), {"CPU": 64, "GPU": 4}, 4),
        (TrialResources(16, 0), {"CPU": 8}, 1),
    ],
)
def test_concurrency(
    resources: TrialResources, cluster: dict[str, float], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: cluster)
    assert resources.concurrency() == number
