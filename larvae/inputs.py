"""The inputs of a step: numbers that the host draws, and the batch and noise that the device makes of them.

What is drawn is a function of the configuration, the data and the iteration, so it can be made ahead of time, by
another thread, and once for members that have it in common.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from larvae import regularisers
from larvae.config import MemberConfig
from larvae.datasets import Dataset, hold_out, labelled_indices
from larvae.datasets.on_device import Receiver
from larvae.errors import InvalidInputError
from larvae.objectives import Batch, Noise, Weights
from larvae.regularisers import annealing
from larvae.streams import Stream, Streams

Made = TypeVar("Made")


class Draws(NamedTuple):
    """The numbers of an iteration, NumPy's on the host and tensors on the device; None where they are of no use.

    Images are indices where the device holds them, else pixels, as `Receiver` takes them. Of a group, all have a first
    dimension of members.
    """

    images: Any
    """(B,) or (B, C, 64, 64)"""
    latent_noise: Any
    """(B, |y| + |z|)"""
    labelled_images: Any = None
    labels: Any = None
    """(B, |y|)"""
    labelled_nuisance: Any = None
    """(B, |z|)"""
    label_targets: Any = None
    """(B, |y|)"""
    known_labels: Any = None
    """(B, |y|)"""
    is_known: Any = None
    """(B, 1)"""
    second_images: Any = None
    second_latents: Any = None
    """(B, |y| + |z|)"""
    permutations: Any = None
    """(B, |y| + |z|)"""
    settings: Any = None
    """The regulariser's own weights that change from iteration to iteration, (S,)."""


class Inputs(NamedTuple):
    """All that the objective takes beside networks."""

    batch: Batch
    noise: Noise
    weights: Weights


class Sampler:
    """Draws one member's inputs, from streams that hold no state."""

    def __init__(
        self, config: MemberConfig, dataset: Dataset, send: Callable[[NDArray[np.integer]], NDArray[Any]]
    ) -> None:
        """send: images at some indices as the device's `Receiver` takes them."""
        self.config, self.dataset, self._send = config, dataset, send
        label_seed = config.seed if config.label_seed is None else config.label_seed
        with_labels = labelled_indices(dataset.num_images, config.label_rate, label_seed)
        self.labelled, self.held_out = hold_out(with_labels, config.held_out)
        self.labels = replace(dataset.factors.select(config.labels), scaling=config.label_scaling)
        self.label_columns = dataset.factors.columns(config.labels)
        if len(self.held_out) and not np.ptp(self.label_classes(self.held_out), axis=0).any():
            rule = f"`held_out` must hold out images that differ in {' or '.join(config.labels)}"
            raise InvalidInputError(f"{rule}, got {config.held_out}: {len(self.held_out)} that do not")
        regulariser = regularisers.of_weight(config.regulariser, config.gamma_tc)
        self._has_discriminator = regulariser is not None and regulariser.has_discriminator
        self._streams = Streams()
        self._anneal = annealing(regulariser.name) if regulariser and regulariser.anneals else None
        self.annealed = tuple(self._anneal(dict(config.regulariser_settings), 0)) if self._anneal else ()
        """Names of the regulariser's own weights that change from iteration to iteration."""
        self._labelled_set = (label_seed, config.label_rate, config.held_out)
        self._labelling = (*self._labelled_set, config.labels, config.label_scaling)

    def draws(self, iteration: int, made: dict[Hashable, Any] | None = None) -> Draws:
        """The numbers of an iteration; images are drawn with replacement.

        made: those of other members in the same iteration, which are taken where they are the same, and added to.
        """
        config, size = self.config, self.config.batch_size
        num_latents = len(config.labels) + config.z_dim
        once = _Once({} if made is None else made, (config.seed, iteration, size))
        draw = functools.partial(self._streams.at, config.seed, iteration=iteration)

        def noise(stream: Stream, dimensions: int) -> NDArray[np.float32]:
            return once(
                lambda: draw(stream).standard_normal((size, dimensions), np.float32), stream, "noise", dimensions
            )

        drawn = once(lambda: draw(Stream.BATCH).integers(self.dataset.num_images, size=size), Stream.BATCH)
        draws = Draws(once(lambda: self._send(drawn), "images"), noise(Stream.LATENT_NOISE, num_latents))
        if config.uses_labels:
            draws = draws._replace(
                **self._labelled_draws(once, iteration),
                labelled_nuisance=noise(Stream.LABELLED_LATENT_NOISE, config.z_dim),
            )
        if config.is_conditional:
            is_known = np.isin(drawn, self.labelled)[:, None]
            known_labels = np.where(is_known, self.labels_of(drawn), np.float32(0))
            draws = draws._replace(known_labels=known_labels, is_known=is_known.astype(np.float32))
        if self._has_discriminator:
            second = once(lambda: draw(Stream.SECOND_BATCH).integers(self.dataset.num_images, size=size), "second")
            rows = np.tile(np.arange(size)[:, None], num_latents)
            draws = draws._replace(
                second_images=once(lambda: self._send(second), "second images"),
                second_latents=noise(Stream.SECOND_LATENT_NOISE, num_latents),
                permutations=once(lambda: draw(Stream.PERMUTATION).permuted(rows, axis=0), "permutations", num_latents),
            )
        if self._anneal is not None:
            weights = self._anneal(dict(config.regulariser_settings), iteration)
            draws = draws._replace(settings=np.array(list(weights.values()), np.float32))
        return draws

    def _labelled_draws(self, once: _Once, iteration: int) -> dict[str, NDArray[Any]]:
        config = self.config

        def positions() -> NDArray[np.integer]:
            generator = self._streams.at(config.seed, Stream.LABELLED_BATCH, iteration)
            return generator.integers(len(self.labelled), size=config.batch_size)

        drawn = once(positions, "labelled", *self._labelled_set)
        made = {
            "labelled_images": once(lambda: self._send(self.labelled[drawn]), "labelled images", *self._labelled_set),
            "labels": once(lambda: self._labels_of_labelled[drawn], "labels", *self._labelling),
        }
        if config.label_loss == "cross_entropy":
            made["label_targets"] = once(lambda: self._targets_of_labelled[drawn], "targets", *self._labelling)
        return made

    @functools.cached_property
    def _labels_of_labelled(self) -> NDArray[np.float32]:
        return self.labels_of(self.labelled)

    @functools.cached_property
    def _targets_of_labelled(self) -> NDArray[np.float32]:
        return self.labels.in_unit(self.label_classes(self.labelled))

    def label_classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class indices (n, |y|) of the factors whose labels are known."""
        return self.dataset.classes(indices)[:, self.label_columns]

    def labels_of(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Labels (n, |y|) of the images at the given indices, scaled as configured."""
        return self.labels.to_labels(self.label_classes(indices))


class _Once:
    """Makes things once for all that ask for them by the same key."""

    def __init__(self, made: dict[Hashable, Any], common: tuple[Hashable, ...]) -> None:
        self._made, self._common = made, common

    def __call__(self, make: Callable[[], Made], *key: Hashable) -> Made:
        whole = (self._common, key)
        if whole not in self._made:
            self._made[whole] = make()
        made: Made = self._made[whole]
        return made


def inputs_of(draws: Draws, receiver: Receiver, weights: Weights, annealed: tuple[str, ...] = ()) -> Inputs:
    """Inputs of draws that are tensors on the device; of one member or of a group.

    weights: those that do not change. annealed: names of the settings that draws have.
    """

    def images(sent: Tensor | None) -> Tensor | None:
        return None if sent is None else receiver.images(sent)

    batch = Batch(
        images=receiver.images(draws.images),
        labelled_images=images(draws.labelled_images),
        labels=draws.labels,
        second_images=images(draws.second_images),
        label_targets=draws.label_targets,
        known_labels=draws.known_labels,
        is_known=draws.is_known,
    )
    noise = Noise(draws.latent_noise, draws.labelled_nuisance, draws.second_latents, draws.permutations)
    if draws.settings is not None:
        weights = weights._replace(settings=dict(zip(annealed, draws.settings.unbind(-1), strict=True)))
    return Inputs(batch, noise, weights)


def on_tensors(draws: Draws, device: torch.device) -> Draws:
    """Draws of the host as tensors on a device."""
    return Draws(*(None if array is None else torch.from_numpy(array).to(device) for array in draws))
