"""Controls for label replacement: each arm against the baseline, and LaRVAE against each control, over paired seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.analysis import load
from sweeps.analysis.comparisons import ALPHA, holm, p_text, paired_p_value, paired_results
from sweeps.analysis.estimates import (
    CONFIDENCE,
    DRAWN_METRICS,
    Interval,
    budget_text,
    budgets,
    has_result,
    interval_text,
    mean_interval,
    measured,
)
from sweeps.analysis.names import written
from sweeps.analysis.parameters import varies

FIELDS = ("tau", "replacement", "detach_nuisance", "z_dim")
"""Fields in which arms differ."""
METRICS = ("mig", "mig_y", "mig_aligned", "l2", "leak", "traversal_error", "mig_aggregate")


class Arm(NamedTuple):
    """A form of L_rep, or none."""

    tau: float
    replacement: str
    detach_nuisance: bool
    z_dim: int

    @property
    def is_baseline(self) -> bool:
        return self.tau == 0

    @property
    def is_larvae(self) -> bool:
        """True for label replacement as the paper has it."""
        return not self.is_baseline and self.replacement == "given" and not self.detach_nuisance

    @property
    def name(self) -> str:
        """The name for people, such as `inferred label, τ = 1`."""
        form = "baseline" if self.is_baseline else "LaRVAE" if self.replacement == "given" else "inferred label"
        detached = ", z detached" if self.detach_nuisance else ""
        nuisance = "" if self.z_dim == MemberConfig().z_dim else f", dim z = {self.z_dim}"
        return f"{form}{detached}, τ = {self.tau:g}{nuisance}"


class ArmResult(NamedTuple):
    """One metric of one arm."""

    arm: Arm
    metric: str
    results: tuple[float, ...]
    num_planned: int

    @property
    def interval(self) -> Interval:
        return mean_interval(self.results)


class Contrast(NamedTuple):
    """One arm against another one, seed by seed."""

    metric: str
    first: Arm
    second: Arm
    difference: Interval
    """Of the first less the second; its interval is not corrected for the number of contrasts."""
    num_pairs: int
    p_value: float
    p_holm: float = math.nan
    """p corrected over all contrasts of a metric."""


class Controls(NamedTuple):
    """A study of controls in numbers."""

    study: str
    label_rate: float
    iterations: tuple[int, ...]
    arms: tuple[Arm, ...]
    """The baseline first, then LaRVAE, then controls; those without a nuisance last."""
    results: tuple[ArmResult, ...]
    contrasts: tuple[Contrast, ...]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(result.metric for result in self.results))

    def of_metric(self, metric: str) -> list[ArmResult]:
        """Results of the arms, in their order."""
        return [result for result in self.results if result.metric == metric]

    @property
    def heading(self) -> str:
        return f"{self.study}: η = {100 * self.label_rate:g} %, {budget_text(self.iterations)}"


def find_study(tracking_uri: str) -> str:
    """Name of the most recently created study that has controls. Raises InvalidInputError when there is none."""
    has_controls = partial(varies, field="replacement")
    return load.newest_sweep(tracking_uri, has_controls, "a study with controls (sweeps/control_sweep.py makes one)")


def controls(study: str, members: pd.DataFrame) -> Controls:
    """Compare the arms of a study. Raises InvalidInputError where it varies more, or lacks baseline or LaRVAE."""
    others = [name for name in load.other_parameters(members, "tau") if name not in FIELDS]
    if others or members["label_rate"].nunique() > 1:
        rule = f"members of `study` must vary {', '.join(FIELDS)} and seed only: choose others with --where"
        raise InvalidInputError(f"{rule}, got {study} that varies {', '.join(others) or 'the label rate'}")
    of_arm = {Arm(*some[list(FIELDS)].iloc[0]): some for _, some in members.groupby(list(FIELDS))}
    arms = sorted(of_arm, key=lambda arm: (arm.z_dim == 0, not arm.is_baseline, not arm.is_larvae, arm))
    if not any(arm.is_baseline for arm in arms) or not any(arm.is_larvae for arm in arms):
        raise InvalidInputError(f"`study` must have the baseline, τ = 0, and LaRVAE, got {study} without")
    measured(study, members, DRAWN_METRICS)  # refused without: the figure would have no panel
    metrics = measured(study, members, METRICS)
    return Controls(
        study=study,
        label_rate=float(members["label_rate"].iloc[0]),
        iterations=budgets(members, metrics),
        arms=tuple(arms),
        results=tuple(
            ArmResult(arm, metric, tuple(of_arm[arm].loc[has_result(of_arm[arm], metric), metric]), len(of_arm[arm]))
            for metric in metrics
            for arm in arms
        ),
        contrasts=tuple(contrast for metric in metrics for contrast in _contrasts(of_arm, arms, metric)),
    )


def _contrasts(of_arm: dict[Arm, pd.DataFrame], arms: Sequence[Arm], metric: str) -> list[Contrast]:
    """All that replace labels against the baseline, and LaRVAE against its controls, of one size of the nuisance."""
    found = []
    for first in arms:
        for second in arms:
            is_asked = second.is_baseline or (first.is_larvae and not second.is_larvae and first.tau == second.tau)
            if first.z_dim != second.z_dim or first.is_baseline or not is_asked:
                continue
            pairs = paired_results(of_arm[first], of_arm[second], metric)
            difference = mean_interval([one - other for one, other in pairs])
            p_value = paired_p_value([one for one, _ in pairs], [other for _, other in pairs])
            found.append(Contrast(metric, first, second, difference, len(pairs), p_value))
    corrected = holm([contrast.p_value for contrast in found])
    return [contrast._replace(p_holm=p) for contrast, p in zip(found, corrected, strict=True)]


def contrasts_frame(found: Controls) -> pd.DataFrame:
    """One row a contrast."""
    rows = [
        {
            "metric": c.metric,
            "first": c.first.name,
            "second": c.second.name,
            "num_pairs": c.num_pairs,
            "mean_difference": c.difference.mean,
            "ci_low": c.difference.low,
            "ci_high": c.difference.high,
            "p_value": c.p_value,
            "p_holm": c.p_holm,
        }
        for c in found.contrasts
    ]
    return pd.DataFrame(rows)


def table(found: Controls) -> str:
    """The arms' means and all contrasts as lines for the terminal."""
    lines = [found.heading]
    for metric in found.metrics:
        lines.append(f"\n{written(metric)}, mean [{100 * CONFIDENCE:g} % t-interval]")
        lines += [
            f"    {result.arm.name:<40}{len(result.results)}/{result.num_planned}  {interval_text(result.interval)}"
            for result in found.of_metric(metric)
        ]
        lines.append("  paired differences, p Holm-corrected")
        for c in (c for c in found.contrasts if c.metric == metric):
            starred = c.p_holm <= ALPHA
            difference = "-" if math.isnan(c.difference.mean) else f"{c.difference.mean:+.3f}"
            bounds = "" if math.isnan(c.difference.low) else f" [{c.difference.low:+.3f}, {c.difference.high:+.3f}]"
            tested = p_text(c.p_value, c.p_holm, starred=starred)
            lines.append(f"    {f'{c.first.name} − {c.second.name}':<60} {difference}{bounds}  p {tested}")
    return "\n".join(lines)
