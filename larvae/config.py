"""The configuration of one member, and the schedule by which it trains and is looked at.

`MemberConfig` determines the trajectory of the parameters; `Schedule` only says where on that
trajectory to stop, log and evaluate. So a budget can be raised and a member goes on from its
checkpoint, and the content hash of the configuration names a member for ever.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from larvae.datasets import SPECIFICATIONS
from larvae.errors import InvalidInputError, require_known
from larvae.metrics import DEFAULT_METRICS, METRICS
from larvae.regularisers import REGULARISERS, SETTINGS

DENSITY_ESTIMATORS = ("minibatch_weighted", "minibatch_stratified")
LIKELIHOODS = ("gaussian", "bernoulli")
REPLACEMENTS = ("given", "inferred")
"""The label that L_rep decodes: the labelled image's own, or q(y|x)'s mean."""
GRAPHICAL_MODELS = ("joint", "conditional")
"""q(z|x) beside q(y|x), as in Figs. 1b and 1c; or q(z|x, y), as in Fig. 1a."""
LABEL_LOSSES = ("squared_error", "cross_entropy")
LABEL_SCALINGS = ("standardised", "index", "unit")
"""Labels of class indices: of mean 0 and variance 1 over the classes, the index itself, or in [0, 1]."""
PIXEL_MEANS = ("linear", "sigmoid")
"""Meaning of the decoder's output for a Gaussian pixel: its mean, or the logit of its mean."""
CHOICES: Mapping[str, Collection[str]] = {
    "dataset": SPECIFICATIONS,
    "regulariser": REGULARISERS,
    "density_estimator": DENSITY_ESTIMATORS,
    "likelihood": LIKELIHOODS,
    "replacement_likelihood": LIKELIHOODS,
    "pixel_mean": PIXEL_MEANS,
    "graphical_model": GRAPHICAL_MODELS,
    "replacement": REPLACEMENTS,
    "label_loss": LABEL_LOSSES,
    "label_scaling": LABEL_SCALINGS,
    "metrics": METRICS,
    "final_metrics": METRICS,
}
"""Names that fields may have."""
_CHOSEN = [name for name in CHOICES if name not in ("replacement_likelihood", "metrics", "final_metrics")]
MOST_LATENTS = 1_000
MOST_ITERATIONS = MOST_IMAGES = 10**9
FORMAT = 2
"""Format of studies, checkpoints, results and runs: another meaning of a field, or default, needs a new number."""


def require_format(found: object, what: str, remedy: str) -> None:
    """Raise InvalidInputError unless what a file or a database holds is of this format; None is the first one's.

    what: what holds it, as in "`results/study` was written". remedy: what to type.
    """
    if found != FORMAT:
        number = 1 if found is None else found
        raise InvalidInputError(f"{what} in format {number}, whose settings mean something else in {FORMAT}: {remedy}")


@dataclass(frozen=True, kw_only=True)  # without slots, for what is computed once
class MemberConfig:
    """One model: hyperparameters and seed. Raises InvalidInputError when a rule is broken."""

    dataset: str = "dsprites"
    """Data set to train on: `python -m larvae.datasets` tells more, and prepares those that are not rendered."""
    regulariser: str = "beta_tcvae"
    """Regulariser, R_u of Eq. 1."""
    tau: float = 1.0
    """Strength of label replacement, τ of Eq. 7; 0 is the semi-supervised baseline."""
    label_rate: float = 0.01
    """Share of the images whose labels are known, the paper's η."""
    z_dim: int = 5
    """Dimensions of the nuisance z beside the label y."""
    gamma_tc: float = None  # type: ignore[assignment]  # of the regulariser, once it is known
    """Weight of the regulariser, γ_tc of Eq. 1; 0 is the generic case of Section 4. Left out, the regulariser's own."""
    alpha: float = 1.0
    """Weight of the label loss, α of Eqs. 7 and 8; with α = τ = 0 learning is unsupervised."""
    learning_rate: float = 1e-4
    """Adam's constant learning rate."""
    batch_size: int = 64
    """Images drawn from all data, and again from the labelled set, in each iteration."""
    density_estimator: str = "minibatch_weighted"
    """β-TCVAE's estimator of log q(z) within a batch."""
    likelihood: str = "gaussian"
    """Likelihood p(x | y, z) of the pixels: gaussian, as Section 3.3 says, or bernoulli, the output being logits."""
    pixel_mean: str = "linear"
    """A Gaussian pixel's mean: linear, the decoder's output itself, as Table D.2 ends; or its sigmoid."""
    pixel_variance: float = 0.5
    """A Gaussian pixel's variance σ². It moves every other weight: 2σ²·L = squared error + 2σ²·(KL + γ_tc·R_u +
    α·label loss) + τ·(squared error + 2σ²·KL of z), so a smaller σ² weakens the labels at the same α."""
    replacement_likelihood: str = ""
    """Likelihood of label replacement's L_rep; empty for the ELBO's. Another one needs the pixel mean sigmoid."""
    replacement: str = "given"
    """Label that L_rep decodes: the given, true one or, as a control, q(y|x)'s mean with its gradient."""
    detach_nuisance: bool = False
    """Keep L_rep's gradient from q(z|x): with the true label it then reaches the decoder alone (Section 3.2)."""
    label_loss: str = "squared_error"
    """Label loss: q(y|x)'s squared error, as Eq. 8 has it, or Eq. 4's R_s as the cross-entropy of labels in [0, 1],
    q(y|x)'s mean being their logit."""
    label_scaling: str = "standardised"
    """Labels that the squared error and L_rep see, made of class indices."""
    label_variance: float = 0.0
    """Variance of q(y|x), σ_y² of Section 3.3; 0 learns it, as Table D.2 has it."""
    nuisance_variance: float = 0.0
    """Variance of q(z|x), σ_z² of Section 3.3; 0 learns it, as Table D.2 has it."""
    graphical_model: str = "joint"
    """Label and nuisance side by side or, as a baseline without tau and regulariser, Fig. 1a's conditional model:
    q(z|x, y) of the label, given where it is known and a sample of q(y|x) elsewhere."""
    instance_norm: bool = True
    """Normalise instances after each convolution, as Table D.2 does."""
    observed_factors: tuple[str, ...] = ()
    """Factors whose labels are known, the others being left to z; none for all."""
    held_out: float = 0.0
    """Share of the labelled images whose labels training does not see, for tuning; 0 outside of searches."""
    seed: int = 0
    """Seed of the labelled set, the initialisation, the batches and the noise."""
    label_seed: int | None = None
    """Seed of the labelled set alone, to be crossed with the other. Left out, that one."""
    regulariser_settings: tuple[tuple[str, float], ...] = ()
    """Settings that the regulariser alone has, by name; those left out take its defaults."""

    def __post_init__(self) -> None:
        for name in _CHOSEN:
            require_known(name, getattr(self, name), CHOICES[name])
        self._canonicalise_likelihood()
        self._canonicalise_without_effect()
        object.__setattr__(self, "observed_factors", self._canonical_factors())
        object.__setattr__(self, "regulariser_settings", self._canonical_settings())
        if self.gamma_tc is None:
            usual = 0.0 if self.is_conditional else REGULARISERS[self.regulariser].default_weight
            object.__setattr__(self, "gamma_tc", usual)
        _require(0 <= self.held_out < 1, "`held_out` must lie in [0, 1)", self.held_out)
        for name in ("tau", "gamma_tc", "alpha", "label_variance", "nuisance_variance", "held_out"):
            value = getattr(self, name)
            _require(value >= 0 and math.isfinite(value), f"`{name}` must be finite and >= 0", value)
            object.__setattr__(self, name, abs(value))  # -0 is 0
        _require(0 < self.label_rate <= 1, "`label_rate` must lie in (0, 1]", self.label_rate)
        _require(0 <= self.z_dim <= MOST_LATENTS, f"`z_dim` must be in [0, {MOST_LATENTS}]", self.z_dim)
        for name in ("learning_rate", "pixel_variance"):
            value = getattr(self, name)
            _require(value > 0 and math.isfinite(value), f"`{name}` must be finite and > 0", value)
        _require(self.batch_size > 0, "`batch_size` must be > 0", self.batch_size)
        _require(self.batch_size <= MOST_IMAGES, f"`batch_size` must be <= {MOST_IMAGES}", self.batch_size)
        if self.is_conditional:
            self._require_no_more_than_conditional()
        if self.density_estimator == "minibatch_stratified":
            images = SPECIFICATIONS[self.dataset].num_images
            rule = f"`batch_size` must lie in [2, {images}] with minibatch_stratified"
            _require(2 <= self.batch_size <= images, rule, self.batch_size)
        for name in ("seed", "label_seed"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < 2**63, f"`{name}` must lie in [0, 2^63)", value)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the factors that y stands for, in the order of its dimensions."""
        return self.observed_factors or SPECIFICATIONS[self.dataset].factors.names

    @property
    def uses_labels(self) -> bool:
        """True if labels have any effect; False is unsupervised learning."""
        return self.alpha > 0 or self.tau > 0 or self.is_conditional

    @property
    def is_conditional(self) -> bool:
        """True if q(z|x, y) depends on the label, as in Fig. 1a."""
        return self.graphical_model == "conditional"

    @property
    def replaces_labels(self) -> bool:
        """True for LaRVAE, False for the baseline."""
        return self.tau > 0

    @cached_property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that depend on every field and nothing else; later ones change none by existing."""
        values = self.to_dict()
        for name in [name for name, then in LATER_FIELDS.items() if values[name] == then]:
            del values[name]
        values |= {f.name: float(values[f.name]) for f in fields(self) if f.type == "float" and f.name in values}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """The fields, the regulariser's own settings among them, as JSON gives them back; `from_dict`'s inverse."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # asdict copies each, in seven times the time
        values["observed_factors"] = list(self.observed_factors)
        del values["regulariser_settings"]
        return values | dict(self.regulariser_settings)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemberConfig:
        """The configuration of some fields, a regulariser's own settings among them, the rest being default.

        Raises InvalidInputError when a rule is broken, TypeError when there is no such field.
        """
        own = tuple((name, value) for name, value in values.items() if name in SETTINGS)
        return cls(**{name: value for name, value in values.items() if name not in SETTINGS}, regulariser_settings=own)

    def _canonicalise_likelihood(self) -> None:
        """Check the likelihood's fields; those without effect take their defaults: one configuration has one hash."""
        require_known("replacement_likelihood", self.replacement_likelihood or self.likelihood, LIKELIHOODS)
        if self.tau == 0 or self.replacement_likelihood == self.likelihood:
            object.__setattr__(self, "replacement_likelihood", "")
        pair = {self.likelihood, self.replacement_likelihood or self.likelihood}
        if len(pair) == 2:
            rule = "`pixel_mean` must be sigmoid with one likelihood in the ELBO and another in L_rep"
            _require(self.pixel_mean == "sigmoid", rule, self.pixel_mean)
        if "gaussian" not in pair:
            object.__setattr__(self, "pixel_mean", "sigmoid")
            object.__setattr__(self, "pixel_variance", 0.5)

    def _require_no_more_than_conditional(self) -> None:
        """Raise InvalidInputError where a field asks for what the conditional model cannot have (Section 4)."""
        apart = "its z depends on y, so there is no latent (y, z) of independent parts"
        needed: dict[str, tuple[Any, str]] = {
            "tau": (0, f"{apart} in which a label could be replaced (Section 4)"),
            "regulariser": ("beta_vae", f"{apart} for others to regularise (Section 4), and that one only at weight 0"),
            "gamma_tc": (0, f"{apart} to regularise (Section 4)"),
            "label_loss": ("squared_error", "q(y|x)'s mean stands where the given label does, and is no logit"),
        }
        for name, (value, reason) in needed.items():
            if (got := getattr(self, name)) != value:
                rule = f"`{name}` must be {value} where `graphical_model` is conditional"
                raise InvalidInputError(f"{rule}, got {got}: {reason}")
        _require(self.z_dim > 0, "`z_dim` must be > 0 where `graphical_model` is conditional", self.z_dim)

    def _canonicalise_without_effect(self) -> None:
        """Later fields take their defaults where they have no effect: one configuration has one hash."""
        without_effect = {
            "replacement": self.tau == 0,
            "detach_nuisance": self.tau == 0 or self.z_dim == 0,
            "label_loss": self.alpha == 0,
            "label_scaling": not self.uses_labels,
            "nuisance_variance": self.z_dim == 0,
            "label_seed": not self.uses_labels or self.label_seed == self.seed,
        }
        for name, has_none in without_effect.items():
            if has_none:
                object.__setattr__(self, name, LATER_FIELDS[name])

    def _canonical_settings(self) -> tuple[tuple[str, float], ...]:
        """The regulariser's own settings in its order, none left out: one configuration has one hash."""
        given, known = dict(self.regulariser_settings), REGULARISERS[self.regulariser].settings
        for name in given:
            if name not in {setting.name for setting in known}:
                raise InvalidInputError(f"`{name}` must be left out with the regulariser {self.regulariser}")
        values = [(setting, given.get(setting.name, setting.default)) for setting in known]
        for setting, value in values:
            rule = f"`{setting.name}` must be finite and {'> 0' if setting.is_positive else '>= 0'}"
            is_allowed = value > 0 or (value == 0 and not setting.is_positive)
            _require(is_allowed and math.isfinite(value), rule, value)
        return tuple((setting.name, abs(float(value))) for setting, value in values)  # -0 is 0

    def _canonical_factors(self) -> tuple[str, ...]:
        """The observed factors in the data set's order, none for all: one configuration has one hash."""
        factors = SPECIFICATIONS[self.dataset].factors
        for name in self.observed_factors:
            require_known("observed_factors", name, factors.names)
        chosen = tuple(name for name in factors.names if name in self.observed_factors)
        return () if chosen == factors.names else chosen


_LATER = (
    *("replacement", "detach_nuisance", "label_loss", "label_scaling", "label_variance", "nuisance_variance"),
    *("label_seed", "graphical_model"),
)
LATER_FIELDS: dict[str, Any] = {field.name: field.default for field in fields(MemberConfig) if field.name in _LATER}
"""Fields that members of this format did not have at first, with what these were: theirs, and no part of the hash."""
FIELDS = (*(field.name for field in fields(MemberConfig) if field.name != "regulariser_settings"), *SETTINGS)
"""Names that `MemberConfig.to_dict` may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Length of training, and intervals of logging, evaluation and checkpoints. Changes no parameter's value."""

    iterations: int
    """Optimiser steps of each member. Raise it later and members go on from where they stopped."""
    log_every: int = 50
    """Iterations between points of the loss curves, which are means over these."""
    evaluate_every: int = 500
    """Iterations between evaluations, a multiple of `log_every`. The end is always evaluated."""
    evaluation_size: int = 10_000
    """Images that metrics are computed on; those that learn on some and score on others take half as many more."""
    evaluation_samples: int = 1
    """Samples of so many images at the end. Of several each metric is the mean, and `<metric>_sd` in MLflow and
    results their standard deviation: the metric's own noise."""
    metrics: tuple[str, ...] = ("mig", "l2")
    """Metrics computed during training."""
    final_metrics: tuple[str, ...] = DEFAULT_METRICS
    """Metrics computed at the end, besides those: none is left as it was before the end."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints; no more than this is lost when a process is killed."""

    def __post_init__(self) -> None:
        for name in ("iterations", "log_every", "evaluate_every", "evaluation_samples", "evaluation_size"):
            value, below = getattr(self, name), int(name == "evaluation_size")
            _require(value > below, f"`{name}` must be > {below}", value)
            _require(value <= MOST_ITERATIONS, f"`{name}` must be <= {MOST_ITERATIONS}", value)
        seconds = self.checkpoint_seconds
        _require(seconds >= 0 and math.isfinite(seconds), "`checkpoint_seconds` must be finite and >= 0", seconds)
        _require(
            self.evaluate_every % self.log_every == 0,
            f"`evaluate_every` must be a multiple of `log_every` ({self.log_every})",
            self.evaluate_every,
        )
        for field in ("metrics", "final_metrics"):
            for name in getattr(self, field):
                require_known(field, name, CHOICES[field])


def _require(rule_holds: bool, rule: str, value: object) -> None:
    if not rule_holds:
        raise InvalidInputError(f"{rule}, got {value}")
