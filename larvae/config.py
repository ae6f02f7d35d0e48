"""What one member is, and how long and how often it is looked at.

`MemberConfig` determines the trajectory of the parameters; `Schedule` only says where on that
trajectory to stop, log and evaluate. So a budget can be raised and a member goes on from its
checkpoint, and the content hash of the configuration names a member for ever.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields

from larvae.errors import InvalidInputError

DATASETS = ("dsprites",)
REGULARISERS = ("beta_tcvae", "beta_vae")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberConfig:
    """One model: hyperparameters and seed. Raises InvalidInputError when a rule is broken."""

    dataset: str = "dsprites"
    """Name of the data set."""
    regulariser: str = "beta_tcvae"
    """R_u of Eq. 1: `beta_tcvae` (total correlation) or `beta_vae` (the KL once more)."""
    tau: float = 1.0
    """Strength of label replacement, τ of Eq. 7; 0 is the semi-supervised baseline."""
    label_rate: float = 0.01
    """Share of the images whose labels are known (the paper's η)."""
    z_dim: int = 5
    """Dimensions of the nuisance z beside the label y."""
    gamma_tc: float = 4.0
    """Weight of R_u, γ_tc of Eq. 1: β − 1 in the terms of β-TCVAE and β-VAE."""
    alpha: float = 64.0
    """Weight of the label loss, α of Eqs. 7 and 8."""
    learning_rate: float = 1e-4
    """Adam's constant learning rate."""
    batch_size: int = 64
    """Images drawn from all data, and again from the labelled set, in each iteration."""
    seed: int = 0
    """Seed of the labelled set, the initialisation, the batches and the noise."""

    def __post_init__(self) -> None:
        require_known("dataset", self.dataset, DATASETS)
        require_known("regulariser", self.regulariser, REGULARISERS)
        for name in ("tau", "gamma_tc", "alpha"):
            value = getattr(self, name)
            _require(value >= 0 and math.isfinite(value), f"`{name}` must be finite and >= 0", value)
        _require(0 < self.label_rate <= 1, "`label_rate` must lie in (0, 1]", self.label_rate)
        _require(self.z_dim >= 0, "`z_dim` must be >= 0", self.z_dim)
        _require(
            self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "`learning_rate` must be finite and > 0",
            self.learning_rate,
        )
        _require(self.batch_size > 0, "`batch_size` must be > 0", self.batch_size)
        _require(0 <= self.seed < 2**63, "`seed` must lie in [0, 2^63)", self.seed)

    @property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that depend on every field and nothing else."""
        values = {
            f.name: float(getattr(self, f.name)) if f.type == "float" else getattr(self, f.name) for f in fields(self)
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, str | int | float]:
        """The fields as JSON-ready values; `MemberConfig(**d)` gives the configuration back."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long a member trains and how often it is looked at. Changes no parameter's value."""

    iterations: int
    """Optimiser steps until the member is finished."""
    log_every: int = 50
    """Iterations between rows of the history; losses are means over these."""
    evaluate_every: int = 500
    """Iterations between evaluations; a multiple of `log_every`. The end is always evaluated."""
    evaluation_size: int = 10_000
    """Images that MIG and ℓ2 are computed on."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints; no more than this is lost when a process is killed."""

    def __post_init__(self) -> None:
        for name in ("iterations", "log_every", "evaluate_every", "evaluation_size"):
            _require(getattr(self, name) > 0, f"`{name}` must be > 0", getattr(self, name))
        _require(
            self.evaluate_every % self.log_every == 0,
            f"`evaluate_every` must be a multiple of `log_every` ({self.log_every})",
            self.evaluate_every,
        )


def _require(rule_holds: bool, rule: str, value: object) -> None:
    if not rule_holds:
        raise InvalidInputError(f"{rule}, got {value}")


def require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InvalidInputError, naming what is allowed, unless a value is among it."""
    _require(value in known, f"`{name}` must be one of {', '.join(known)}", value)
