"""Trains one model: parameters, optimiser and the iteration they have reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map_only

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.datasets.on_device import images_on
from larvae.errors import NonFiniteLossError
from larvae.functional import fast_precision, functions, structure_of
from larvae.inputs import Inputs, Sampler, inputs_of, on_tensors
from larvae.networks import initialise
from larvae.objectives import FixedVariances, Weights, inferred_posterior, minimised

ENCODING_BATCH = 250
"""Images encoded at a time; divides the usual evaluation sizes."""


class Trainer:
    """One member's training state.

    The state after t iterations is a function of the configuration, the data and t alone: bit for
    bit on one kind of CPU and thread count, however often it was saved and restored on the way.
    """

    def __init__(self, config: MemberConfig, dataset: Dataset, *, device: str = "cpu", compiled: bool = False) -> None:
        """compiled: fuse the step with `torch.compile`; see `compiling.can_compile`."""
        self.config = config
        self.dataset = dataset
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # in the whole process: what is called float32 is in float32
        self.iteration = 0
        self.totals: dict[str, Tensor] = {}
        """Sums of the terms since means were last taken, 0-d each."""
        self._means_taken_at = 0
        self.receiver, self._send = images_on(dataset, self.device)
        self.sampler = Sampler(config, dataset, self._send)
        self.structure = structure_of(config)
        self.model = initialise(self.structure.architecture, config.seed).to(self.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimisers = make_optimisers(self.parameters, config.learning_rate)
        self.weights = Weights(
            gamma_tc=self._scalar(config.gamma_tc),
            alpha=self._scalar(config.alpha),
            tau=self._scalar(config.tau),
            pixel_variance=self._scalar(config.pixel_variance),
            settings={name: self._scalar(value) for name, value in config.regulariser_settings if config.gamma_tc > 0},
            label_variance=self._scalar(config.label_variance),
            nuisance_variance=self._scalar(config.nuisance_variance),
        )
        self.compiled_in = fast_precision(self.device) if compiled else None
        self._functions = functions(self.structure, self.compiled_in, self.device.type)

    @property
    def num_latents(self) -> int:
        """D = |y| + |z|."""
        return self.structure.architecture.num_latents

    @property
    def is_native(self) -> bool:
        """True if convolutions run in this project's own code, `larvae.native`; never in a group."""
        return self._functions.native

    def again(self) -> Trainer:
        """Another trainer of the same configuration, at its start."""
        return Trainer(self.config, self.dataset, device=str(self.device), compiled=self.compiled_in is not None)

    def become_plain(self) -> None:
        """Take the steps that follow as `networks` has them, in float32."""
        self.compiled_in = None
        self._functions = functions(self.structure, None, self.device.type)

    def train(self, num_iterations: int) -> dict[str, float]:
        """Take optimiser steps; return `take_means()` of them."""
        for _ in range(num_iterations):
            self.step()
        return self.take_means()

    def step(self) -> None:
        """One iteration of Table 1; its terms are added up for `take_means`."""
        terms = self._functions.objective(self.parameters, *self.inputs(self.iteration))
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        minimised(terms).backward()
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.iteration += 1
        for name, value in terms.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros_like(value)
            self.totals[name] += value.detach()

    def take_means(self) -> dict[str, float]:
        """The mean of each term over the steps since this was last called.

        Raises NonFiniteLossError, naming the terms, when one of the means is not finite.
        """
        count = self.iteration - self._means_taken_at
        if count == 0:
            return {}
        sums = torch.stack(list(self.totals.values())).tolist()  # one transfer
        means = {name: total / count for name, total in zip(self.totals, sums, strict=True)}
        for total in self.totals.values():
            total.zero_()
        self._means_taken_at = self.iteration
        if broken := [name for name, mean in means.items() if not math.isfinite(mean)]:
            raise NonFiniteLossError(f"{', '.join(broken)} not finite within {count} iterations to {self.iteration}")
        return means

    @torch.no_grad()
    def posterior_means(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Posterior means (n, |y| + |z|) of the images at the given indices."""
        return np.concatenate([self._encode(chunk) for chunk in _encoding_batches(indices)])

    @torch.no_grad()
    def posterior_log_variances(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Posterior log-variances (n, |y| + |z|) of the images at the given indices, fixed ones too."""
        # The plain layers: what is seldom asked for is not worth a compilation.
        terms = self.structure.terms
        model = FixedVariances(self.model, self.weights, terms)
        posteriors = (inferred_posterior(model, self._images(chunk), terms) for chunk in _encoding_batches(indices))
        return np.concatenate([posterior.log_variance.cpu().numpy() for posterior in posteriors])

    @torch.no_grad()
    def decode(self, labels: NDArray[np.float32], nuisance: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Expected images (n, C, 64, 64), clipped to 0 to 255, of labels (n, |y|) and nuisances (n, |z|) or (|z|,)."""
        latents = np.concatenate([labels, np.broadcast_to(nuisance, (len(labels), nuisance.shape[-1]))], axis=1)
        pixels = self.structure.terms.likelihood.mean(self.model.decode(self._tensor(latents)))
        return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on as if nothing had stopped."""
        return {
            "iteration": self.iteration,
            # Copies: a view of a group's tensor would be saved with all of it.
            "model": tree_map_only(Tensor, torch.clone, dict(self.model.state_dict())),
            "optimisers": {
                name: tree_map_only(Tensor, torch.clone, optimiser.state_dict())
                for name, optimiser in self.optimisers.items()
            },
            "totals": tree_map_only(Tensor, torch.clone, self.totals),
            "means_taken_at": self._means_taken_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        self.iteration = state["iteration"]
        self.model.load_state_dict(state["model"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.totals = {name: total.to(self.device) for name, total in state["totals"].items()}
        self._means_taken_at = state["means_taken_at"]

    def inputs(self, iteration: int) -> Inputs:
        """The inputs of an iteration."""
        draws = on_tensors(self.sampler.draws(iteration), self.device)
        return inputs_of(draws, self.receiver, self.weights, self.sampler.annealed)

    def _encode(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        # A compiled encoder knows one size of a batch: a smaller one is filled up.
        filled = indices if self.compiled_in is None else np.resize(indices, ENCODING_BATCH)
        return self._functions.encode(self.parameters, self._images(filled)).cpu().numpy()[: len(indices)]

    def _images(self, indices: NDArray[np.integer]) -> Tensor:
        return self.receiver.images(self._tensor(self._send(indices)))

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(float(value), device=self.device)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def make_optimisers(parameters: Mapping[str, Tensor], learning_rate: float) -> dict[str, torch.optim.Optimizer]:
    """Adam of encoder and decoder and, for FactorVAE, the discriminator's own (Kim & Mnih, 2018, Appendix A)."""
    discriminator = [p for name, p in parameters.items() if name.startswith("discriminator.")]
    others = [p for name, p in parameters.items() if not name.startswith("discriminator.")]
    optimisers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.Adam(others, lr=learning_rate, fused=True)}
    if discriminator:
        optimisers["discriminator"] = torch.optim.Adam(discriminator, lr=1e-4, betas=(0.5, 0.9), fused=True)
    return optimisers


def _encoding_batches(indices: NDArray[np.integer]) -> list[NDArray[np.integer]]:
    return np.split(indices, range(ENCODING_BATCH, len(indices), ENCODING_BATCH))
