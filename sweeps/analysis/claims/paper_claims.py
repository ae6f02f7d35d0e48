"""The claims of Sections 5.1 and 5.2 and of the supplement, in our words, and the number by which each is tested."""

from __future__ import annotations

from typing import NamedTuple

from larvae.errors import require_known
from sweeps.analysis.claims import contrasts
from sweeps.analysis.claims.contrasts import Contrast


class Claim(NamedTuple):
    """A claim of the paper."""

    name: str
    statement: str
    source: str
    varied: tuple[str, ...]
    """Fields that its numbers are made over, beside the seed: members that differ in others are cases of their own."""
    contrast: Contrast
    needs: str
    """Members that it takes, in words."""
    metrics: tuple[str, ...] = ("mig", "l2")
    """The primary metrics: it must hold of each."""
    has_choice: bool = False
    """It speaks of a best value, which half of the seeds choose for the others to judge."""
    is_joint: bool = False
    """The number is made of both metrics together."""
    datasets: tuple[str, ...] = ()
    """The only data sets that it speaks of; empty for all."""
    look_alikes: tuple[str, ...] = ()
    """Data sets that look like those, on which it cannot be decided."""


_PAIRS = "τ = 0 and τ > 0"
_CLAIMS = (
    Claim(
        "outperforms",
        "LaRVAE outperforms its baseline",
        "Section 5.1, Figs. 2 and E.1",
        ("tau", "label_rate"),
        contrasts.outperforming,
        _PAIRS,
    ),
    Claim(
        "tau-improves",
        "MIG and ℓ2 improve for τ > 0",
        "Section 5.2, Fig. 3a",
        ("tau", "label_rate"),
        contrasts.improving,
        "τ = 0 and several τ > 0",
    ),
    Claim(
        "rise-and-fall",
        "With τ, disentanglement first improves, then drops",
        "Section 5.2, Fig. 3a",
        ("tau", "label_rate"),
        contrasts.rise_and_fall,
        "τ = 0 and several τ > 0",
        has_choice=True,
    ),
    Claim(
        "z-improves",
        "A larger z improves disentanglement, from five dimensions on",
        "Section 5.2, Fig. 3b",
        ("z_dim", "label_rate"),
        contrasts.growth_with_z,
        "several dim z ≥ 5",
    ),
    Claim(
        "z-stabilises",
        "A larger z makes results more stable",
        "Section 5.2, Fig. 3b",
        ("z_dim", "tau", "label_rate"),
        contrasts.variance_over_z,
        "several dim z ≥ 5 at τ > 0",
    ),
    Claim(
        "z-does-not-leak",
        "Labels do not leak into a large z",
        "Section 5.2",
        ("z_dim", "label_rate"),
        contrasts.no_leak,
        "several dim z ≥ 5, with the metric leak",
        metrics=("leak",),
    ),
    Claim(
        "less-variance",
        "LaRVAE varies less over seeds than its baseline",
        "Section 5.1",
        ("tau", "label_rate"),
        contrasts.less_variance,
        _PAIRS,
    ),
    Claim(
        "variance-falls",
        "LaRVAE's variance falls as there are more labels",
        "Section 5.1",
        ("tau", "label_rate"),
        contrasts.variance_over_labels,
        "τ > 0 at several label rates",
    ),
    Claim(
        "tune-per-label-rate",
        "τ must be tuned for each label rate",
        "Section 5.2",
        ("tau", "label_rate"),
        contrasts.tuning_per_label_rate,
        "several τ at several label rates",
        has_choice=True,
    ),
    Claim(
        "tune-per-dataset",
        "τ must be tuned for each data set",
        "Section 5.2",
        ("tau", "label_rate", "dataset"),
        contrasts.tuning_per_dataset,
        "several τ on several data sets",
        has_choice=True,
    ),
    Claim(
        "weak-label-loss",
        "Label replacement helps a weak label loss more than a strong one",
        "asked of the kept study, not the paper's",
        ("tau", "alpha", "label_rate"),
        contrasts.weak_over_strong,
        "τ = 0 and τ > 0 at several α > 0",
    ),
    Claim(
        "best-outperforms",
        "The best LaRVAE over α and τ outperforms the best baseline over α",
        "asked of the kept study, not the paper's",
        ("tau", "alpha", "label_rate"),
        contrasts.best_over_best,
        "τ = 0 and τ > 0 at several α > 0",
        has_choice=True,
    ),
    Claim(
        "supervision-helps",
        "Semi-supervised models outperform unsupervised ones",
        "Sections 1 and 5.1",
        ("tau", "alpha", "label_rate"),
        contrasts.supervision_gain,
        "α = 0 and α > 0, both at τ = 0",
    ),
    Claim(
        "factor-vae-improves",
        "LaRVAE improves the FactorVAE score on dSprites",
        "Supplement, Fig. E.2",
        ("tau", "label_rate"),
        contrasts.outperforming,
        f"{_PAIRS} on dSprites, with the FactorVAE score",
        metrics=("factor_vae_score",),
        datasets=("dsprites",),
    ),
    Claim(
        "factor-vae-correlates",
        "The FactorVAE score goes with MIG",
        "Section 5",
        ("tau", "z_dim", "alpha", "label_rate"),
        contrasts.rank_correlation,
        "four settings or more, with MIG and the FactorVAE score",
        metrics=("mig", "factor_vae_score"),
        is_joint=True,
    ),
    Claim(
        "factor-vae-saturates",
        "The FactorVAE score saturates on 3D Shapes",
        "Supplement, Fig. E.2",
        ("tau", "label_rate"),
        contrasts.saturation,
        "members on 3D Shapes, with the FactorVAE score",
        metrics=("factor_vae_score",),
        datasets=("shapes3d",),
        look_alikes=("shapes3d-rendered",),
    ),
)
CLAIMS = {claim.name: claim for claim in _CLAIMS}
"""All claims by name, in the order in which they are told."""


def claim(name: str) -> Claim:
    """A claim by its name. Raises InvalidInputError when there is none."""
    require_known("claim", name, CLAIMS)
    return CLAIMS[name]
