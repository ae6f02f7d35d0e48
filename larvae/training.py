"""Trains one model: parameters, optimiser and the iteration they have reached."""

from __future__ import annotations

import functools
import math
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from larvae import streams
from larvae.config import MemberConfig
from larvae.datasets import Dataset, labelled_indices
from larvae.distributions import Gaussian
from larvae.errors import NonFiniteLossError
from larvae.networks import VariationalAutoencoder, initialise
from larvae.objectives import Batch, Noise, Weights, larvae_objective
from larvae.streams import Stream

Objective = Callable[[Mapping[str, Tensor], Batch, Noise, Weights], dict[str, Tensor]]


class Trainer:
    """One member's training state.

    The state after t iterations is a function of the configuration, the data and t alone: bit for
    bit on one kind of CPU and thread count, however often it was saved and restored on the way.
    """

    def __init__(self, config: MemberConfig, dataset: Dataset, *, device: str = "cpu", compiled: bool = False) -> None:
        """compiled: fuse the step with `torch.compile`; see `can_compile`."""
        self.config = config
        self.dataset = dataset
        self.device = torch.device(device)
        self.iteration = 0
        self._totals: dict[str, Tensor] = {}
        self._means_taken_at = 0
        self.labelled = labelled_indices(dataset.num_images, config.label_rate, config.seed)
        self.num_latents = dataset.grid.num_factors + config.z_dim
        channels = dataset.images(np.arange(1)).shape[1]
        self.model = initialise(channels, self.num_latents, config.seed).to(self.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate, fused=True)
        self.weights = Weights(
            *(torch.tensor(w, device=self.device) for w in (config.gamma_tc, config.alpha, config.tau))
        )
        self._objective = _objective(
            channels, self.num_latents, config.regulariser, dataset.num_images, config.tau > 0, compiled
        )

    def train(self, num_iterations: int) -> dict[str, float]:
        """Take optimiser steps; return `take_means()` of them."""
        for _ in range(num_iterations):
            self.step()
        return self.take_means()

    def step(self) -> None:
        """One iteration of Table 1; its terms are added up for `take_means`."""
        terms = self._objective(self.parameters, *self._inputs(self.iteration), self.weights)
        self.optimiser.zero_grad()
        terms["loss"].backward()
        self.optimiser.step()
        self.iteration += 1
        for name, value in terms.items():
            self._totals[name] = self._totals.get(name, 0) + value.detach()

    def take_means(self) -> dict[str, float]:
        """The mean of each term over the steps since this was last called.

        Raises NonFiniteLossError, naming the terms, when one of the means is not finite.
        """
        count = self.iteration - self._means_taken_at
        means = {name: float(total) / count for name, total in self._totals.items()}
        self._totals, self._means_taken_at = {}, self.iteration
        if broken := [name for name, mean in means.items() if not math.isfinite(mean)]:
            raise NonFiniteLossError(f"{', '.join(broken)} not finite within {count} iterations to {self.iteration}")
        return means

    @torch.no_grad()
    def posterior_means(self, indices: NDArray[np.integer], batch_size: int = 256) -> NDArray[np.float32]:
        """Posterior means (n, |y| + |z|) of the images at the given indices."""
        chunks = np.split(indices, range(batch_size, len(indices), batch_size))
        return np.concatenate([self.model.encode(self._images(chunk)).mean.cpu().numpy() for chunk in chunks])

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on as if nothing had stopped."""
        return {
            "iteration": self.iteration,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "totals": self._totals,
            "means_taken_at": self._means_taken_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        self.iteration = state["iteration"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._totals = {name: total.to(self.device) for name, total in state["totals"].items()}
        self._means_taken_at = state["means_taken_at"]

    def _inputs(self, iteration: int) -> tuple[Batch, Noise]:
        """The batch and the noise of one iteration; images are drawn with replacement."""
        size = self.config.batch_size
        draw = functools.partial(streams.generator, self.config.seed, iteration=iteration)
        indices = draw(Stream.BATCH).integers(self.dataset.num_images, size=size)
        labelled = self.labelled[draw(Stream.LABELLED_BATCH).integers(len(self.labelled), size=size)]
        labels = self.dataset.grid.standardise(self.dataset.grid.classes(labelled))
        noise = draw(Stream.LATENT_NOISE).standard_normal((size, self.num_latents), np.float32)
        nuisance_noise = draw(Stream.LABELLED_LATENT_NOISE).standard_normal((size, self.config.z_dim), np.float32)
        return (
            Batch(self._images(indices), self._images(labelled), self._tensor(labels)),
            Noise(self._tensor(noise), self._tensor(nuisance_noise)),
        )

    def _images(self, indices: NDArray[np.integer]) -> Tensor:
        return self._tensor(self.dataset.images(indices)).float()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def can_compile() -> bool:
    """Whether `torch.compile` has what it needs on a CPU: a C++ compiler and Python's headers."""
    compilers = ("c++", "g++", "clang++")
    return any(map(shutil.which, compilers)) and (Path(sysconfig.get_path("include")) / "Python.h").exists()


@functools.lru_cache(maxsize=16)
def _objective(
    channels: int, num_latents: int, regulariser: str, dataset_size: int, replaces_labels: bool, compiled: bool
) -> Objective:
    """The objective as a function of the parameters, kept so that members of a process share one compilation."""
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(channels, num_latents)

    def objective(parameters: Mapping[str, Tensor], batch: Batch, noise: Noise, weights: Weights) -> dict[str, Tensor]:
        return larvae_objective(
            _FunctionalModel(skeleton, parameters),
            batch,
            noise,
            weights,
            regulariser=regulariser,
            dataset_size=dataset_size,
            replaces_labels=replaces_labels,
        )

    if not compiled:
        return objective
    torch._dynamo.config.recompile_limit = 64  # one entry a structure, and a sweep may have many
    return torch.compile(objective, dynamic=False)


class _FunctionalModel:
    """An autoencoder whose parameters are passed in, as `torch.func` and the compiler want it."""

    def __init__(self, skeleton: VariationalAutoencoder, parameters: Mapping[str, Tensor]) -> None:
        self.skeleton = skeleton
        self.parts = {
            part: {name.removeprefix(f"{part}."): p for name, p in parameters.items() if name.startswith(part)}
            for part in ("encoder", "decoder")
        }

    def encode(self, images: Tensor) -> Gaussian:
        return Gaussian(*functional_call(self.skeleton.encoder, self.parts["encoder"], (images,)).chunk(2, dim=1))

    def decode(self, latents: Tensor) -> Tensor:
        return functional_call(self.skeleton.decoder, self.parts["decoder"], (latents,))
