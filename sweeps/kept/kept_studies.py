"""Studies whose results the repository keeps: members in the order in which they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from larvae.config import MemberConfig, Schedule
from sweeps import label_rate_sweep, tau_sweep, z_dim_sweep
from sweeps.options import QUICK_METRICS
from sweeps.study import differing, grid

_ALPHAS = (1.0, 64.0)
_SEEDS = range(3)
CURVE_TAUS = (0.0, 1.0, 10.0)
"""Values of τ by which it is told what decides the curve."""


class KeptStudy(NamedTuple):
    """Members in the order in which they are trained."""

    members: tuple[MemberConfig, ...]
    schedule: Schedule

    @property
    def varied(self) -> tuple[str, ...]:
        """The fields in which members differ, by which each is told."""
        fields = [member.to_dict() for member in self.members]
        return differing(fields[0], fields)


def _schedule(iterations: int, *more_metrics: str) -> Schedule:
    metrics = (*QUICK_METRICS, *more_metrics)
    return Schedule(iterations=iterations, log_every=500, evaluate_every=500, final_metrics=metrics)


def section_5_2() -> KeptStudy:
    """The τ sweep at two weights of the label loss and the z sweep at α = 1; what is in both is trained once.

    First come the members of curve()'s τ, whose linear Gaussian is theirs, and the baseline that uses no label; at
    each label rate then z, whose few members settle more claims than the values of τ that are left.
    """
    rates, taus = (tau_sweep.PRESETS["laptop"].values[name] for name in ("label_rate", "tau"))
    z_dims = z_dim_sweep.PRESETS["laptop"].values["z_dim"]
    members = _tau_sweep(min(rates), CURVE_TAUS)
    members += [MemberConfig(label_rate=min(rates), seed=seed, alpha=0.0, tau=0.0) for seed in _SEEDS]
    for rate in rates:
        members += [MemberConfig(label_rate=rate, seed=seed, z_dim=z_dim) for seed, z_dim in product(_SEEDS, z_dims)]
        members += _tau_sweep(rate, taus)
    return KeptStudy(tuple(dict.fromkeys(members)), _schedule(10_000, "leak"))


def _tau_sweep(label_rate: float, taus: Sequence[float]) -> list[MemberConfig]:
    settings = product(_SEEDS, _ALPHAS, taus)
    return [MemberConfig(label_rate=label_rate, seed=seed, alpha=alpha, tau=tau) for seed, alpha, tau in settings]


def curve() -> KeptStudy:
    """τ at two weights of the label loss for the likelihoods that are not the default; then σ² for the one that is.

    Of σ² = 1/8 there is one with 2σ²·α and 2σ²·γ_tc as at σ² = 1/2, and one with α and γ_tc as there.
    """
    sigmoid = [{"likelihood": "gaussian", "pixel_mean": "sigmoid"}, {"likelihood": "bernoulli"}]
    variance = [{"pixel_variance": 0.125, "alpha": 4.0, "gamma_tc": 16.0}, {"pixel_variance": 0.125}]
    settings = [{**fields, "alpha": alpha} for fields, alpha in product(sigmoid, _ALPHAS)] + variance
    members = [
        MemberConfig.from_dict(fields | {"seed": seed, "tau": tau})
        for fields, seed, tau in product(settings, _SEEDS, CURVE_TAUS)
    ]
    return KeptStudy(tuple(members), _schedule(4_000))


def control() -> KeptStudy:
    """Controls for label replacement: the baseline, LaRVAE, and L_rep in forms that the paper does not have.

    In the order in which they tell most; the last ones have no nuisance.
    """
    inferred, detached = {"replacement": "inferred"}, {"detach_nuisance": True}
    arms: list[dict[str, Any]] = [{"tau": 0.0}, {}, inferred, detached]
    more: list[dict[str, Any]] = [{"tau": 10.0, **inferred}, {"tau": 0.0, "z_dim": 0}, {"z_dim": 0}]
    in_turn = (arms, [{"tau": 10.0}], more)
    members = [MemberConfig.from_dict(arm | {"seed": seed}) for some in in_turn for seed, arm in product(_SEEDS, some)]
    return KeptStudy(tuple(members), _schedule(3_000, "leak", "traversal_error", "mig_aggregate"))


def label_rates() -> KeptStudy:
    """LaRVAE against its baseline with three regularisers, at the lowest and the highest label rate of Section 5.1."""
    return _label_rates("dsprites", ("beta_tcvae", "beta_vae", "factor_vae"), 5_000)


def look_alike() -> KeptStudy:
    """The same of β-TCVAE, and shorter, on the images that are rendered in the place of 3D Shapes'."""
    return _label_rates("shapes3d-rendered", ("beta_tcvae",), 2_000)


def _label_rates(dataset: str, regularisers: Sequence[str], iterations: int) -> KeptStudy:
    rates = label_rate_sweep.PRESETS["laptop"].values["label_rate"]
    ends = (min(rates), max(rates))
    swept = {"regulariser": regularisers, "seed": _SEEDS, "label_rate": ends, "tau": (0.0, MemberConfig().tau)}
    schedule = _schedule(iterations)
    return KeptStudy(grid(dataset, {"dataset": dataset}, swept, schedule).members, schedule)


STUDIES: Mapping[str, Callable[[], KeptStudy]] = {
    "study": section_5_2,
    "curve": curve,
    "control": control,
    "label-rates": label_rates,
    "look-alike": look_alike,
}
