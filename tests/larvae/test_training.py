"""Training: the baseline bit for bit, state saved and restored, and losses that end a member."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from larvae.config import MemberConfig
from larvae.datasets import Dataset, labelled_indices
from larvae.errors import NonFiniteLossError
from larvae.networks import VariationalAutoencoder, initialise
from larvae.objectives import Batch, Noise, Weights, larvae_objective
from larvae.streams import Stream, generator
from larvae.training import Trainer

TINY = MemberConfig(batch_size=4, label_rate=0.001)
NUM_FACTORS = 5


def parameters_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def trained(config: MemberConfig, dataset: Dataset, iterations: int) -> dict[str, Tensor]:
    trainer = Trainer(config, dataset)
    trainer.train(iterations)
    return parameters_of(trainer)


def assert_equal_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def baseline_loss(model: VariationalAutoencoder, batch: Batch, noise: Noise, config: MemberConfig) -> Tensor:
    """Eq. 4 for N images: the semi-supervised baseline, with no mention of label replacement."""
    size = config.batch_size
    mean, log_variance = model.encoder(torch.cat([batch.images, batch.labelled_images])).chunk(2, dim=1)
    labelled_mean, mean, log_variance = mean[size:], mean[:size], log_variance[:size]
    samples = mean + torch.exp(0.5 * log_variance) * noise.latents
    logits = model.decoder(samples)
    reconstruction = F.binary_cross_entropy_with_logits(logits, batch.images, reduction="sum") / size
    kl = (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(1).mean()
    label_loss = (labelled_mean[:, :NUM_FACTORS] - batch.labels).square().sum(1).mean()
    loss = reconstruction + kl + config.alpha * label_loss
    if config.regulariser == "beta_vae":
        return loss + config.gamma_tc * kl
    squares = (samples[:, None] - mean).square() * torch.exp(-log_variance)  # [i, j, dimension]
    log_density = -0.5 * (squares + log_variance + math.log(2 * math.pi))
    log_size = math.log(737_280 * size)
    joint = log_density.sum(2).logsumexp(1) - log_size
    marginals = (log_density.logsumexp(1) - log_size).sum(1)
    return loss + config.gamma_tc * (joint - marginals).mean()


@pytest.mark.parametrize("regulariser", ["beta_tcvae", "beta_vae"])
def test_without_tau_training_is_the_baseline_bit_for_bit(dataset: Dataset, regulariser: str) -> None:
    config = dataclasses.replace(TINY, tau=0, regulariser=regulariser)
    trainer = Trainer(config, dataset)
    model = initialise(1, NUM_FACTORS + config.z_dim, config.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    losses = []
    for iteration in range(5):
        loss = baseline_loss(model, *trainer._inputs(iteration), config)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert trainer.train(5)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert_equal_bits(parameters_of(trainer), dict(model.named_parameters()))


@pytest.mark.parametrize("regulariser", ["beta_tcvae", "beta_vae"])
def test_label_replacement_of_weight_zero_is_the_baseline_bit_for_bit(dataset: Dataset, regulariser: str) -> None:
    """So leaving the term out at τ = 0 saves time and changes nothing."""
    config = dataclasses.replace(TINY, tau=0, regulariser=regulariser)
    trainer = Trainer(config, dataset)
    model = initialise(1, NUM_FACTORS + config.z_dim, config.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    weights = Weights(*(torch.tensor(float(w)) for w in (config.gamma_tc, config.alpha, 0)))
    for iteration in range(5):
        terms = larvae_objective(
            model,
            *trainer._inputs(iteration),
            weights,
            regulariser=regulariser,
            dataset_size=dataset.num_images,
            replaces_labels=True,
        )
        assert terms["label_replacement_loss"] > 0
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    trainer.train(5)
    assert_equal_bits(parameters_of(trainer), dict(model.named_parameters()))


def test_training_without_tau_reports_no_label_replacement(dataset: Dataset) -> None:
    baseline = Trainer(dataclasses.replace(TINY, tau=0), dataset).train(1)
    larvae = Trainer(TINY, dataset).train(1)
    assert set(baseline) == {"loss", "reconstruction", "kl", "label_loss", "total_correlation"}
    assert set(larvae) - set(baseline) == {"label_replacement_loss", "replacement_reconstruction", "replacement_kl"}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"tau": 0.5},
        {"tau": 0},
        {"gamma_tc": 3.0},
        {"alpha": 63.0},
        {"learning_rate": 2e-4},
        {"batch_size": 3},
        {"label_rate": 0.002},
        {"regulariser": "beta_vae"},
    ],
    ids=str,
)
def test_every_hyperparameter_reaches_the_parameters(dataset: Dataset, change: dict[str, Any]) -> None:
    """Members of one structure share a compiled objective, which must hold none of their weights."""
    ours = trained(TINY, dataset, 2)
    others = trained(dataclasses.replace(TINY, **change), dataset, 2)
    assert any(not torch.equal(ours[name], others[name]) for name in ours)


def test_whole_numbers_train_as_floats(dataset: Dataset) -> None:
    whole = dataclasses.replace(TINY, tau=2, gamma_tc=3, alpha=10)
    floats = dataclasses.replace(TINY, tau=2.0, gamma_tc=3.0, alpha=10.0)
    assert_equal_bits(trained(whole, dataset, 2), trained(floats, dataset, 2))


def test_training_without_a_nuisance(dataset: Dataset) -> None:
    trainer = Trainer(dataclasses.replace(TINY, z_dim=0), dataset)
    assert trainer.train(2)["replacement_kl"] == 0
    assert trainer.posterior_means(np.arange(3)).shape == (3, NUM_FACTORS)


def test_training_lowers_the_loss(dataset: Dataset) -> None:
    trainer = Trainer(dataclasses.replace(TINY, learning_rate=1e-3), dataset)
    first = trainer.train(3)
    trainer.train(30)
    last = trainer.train(3)
    assert last["loss"] < 0.7 * first["loss"]
    assert last["reconstruction"] < 0.7 * first["reconstruction"]


def test_reported_losses_are_means_over_the_iterations(dataset: Dataset) -> None:
    one_by_one = Trainer(TINY, dataset)
    singles = [one_by_one.train(1) for _ in range(3)]
    at_once = Trainer(TINY, dataset)
    means = at_once.train(3)
    assert at_once.iteration == one_by_one.iteration == 3
    assert_equal_bits(parameters_of(at_once), parameters_of(one_by_one))
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean([single[name] for single in singles]), rel=1e-5)


def test_members_of_one_process_do_not_touch_each_other(dataset: Dataset) -> None:
    configs = [TINY, dataclasses.replace(TINY, seed=1, tau=3.0)]
    alone = [trained(config, dataset, 4) for config in configs]
    trainers = [Trainer(config, dataset) for config in configs]
    for _ in range(2):
        for trainer in trainers:
            trainer.train(2)
    for trainer, expected in zip(trainers, alone, strict=True):
        assert_equal_bits(parameters_of(trainer), expected)


def test_global_random_stream_plays_no_part(dataset: Dataset) -> None:
    expected = trained(TINY, dataset, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        before = torch.random.get_rng_state()
        assert_equal_bits(trained(TINY, dataset, 2), expected)
        assert torch.equal(torch.random.get_rng_state(), before)


# What an iteration sees


def test_inputs_are_images_with_their_labels(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    batch, noise = trainer._inputs(0)
    assert batch.images.shape == batch.labelled_images.shape == (4, 1, 64, 64)
    assert batch.images.dtype == batch.labels.dtype == torch.float32
    assert noise.latents.shape == (4, 10)
    assert noise.labelled_nuisance.shape == (4, 5)
    labelled = labelled_indices(dataset.num_images, TINY.label_rate, TINY.seed)
    labels = dataset.grid.standardise(dataset.grid.classes(labelled))
    for image, label in zip(batch.labelled_images, batch.labels, strict=True):
        matching = labelled[np.all(labels == label.numpy(), axis=1)]
        assert len(matching) == 1
        assert np.array_equal(dataset.images(matching)[0], image.numpy())


def test_inputs_are_drawn_from_the_streams_of_their_purposes(dataset: Dataset) -> None:
    """A stream used twice would tie the labelled batch, or its noise, to the batch of all data."""
    trainer = Trainer(TINY, dataset)
    batch, noise = trainer._inputs(3)
    indices = generator(TINY.seed, Stream.BATCH, 3).integers(dataset.num_images, size=4)
    among_labelled = generator(TINY.seed, Stream.LABELLED_BATCH, 3).integers(len(trainer.labelled), size=4)
    labelled = trainer.labelled[among_labelled]
    latents = generator(TINY.seed, Stream.LATENT_NOISE, 3).standard_normal((4, 10), np.float32)
    nuisance = generator(TINY.seed, Stream.LABELLED_LATENT_NOISE, 3).standard_normal((4, 5), np.float32)
    assert np.array_equal(batch.images.numpy(), dataset.images(indices))
    assert np.array_equal(batch.labelled_images.numpy(), dataset.images(labelled))
    assert np.array_equal(noise.latents.numpy(), latents)
    assert np.array_equal(noise.labelled_nuisance.numpy(), nuisance)


def test_inputs_depend_on_seed_and_iteration_alone(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    first = [torch.cat([part.flatten() for part in group]) for group in trainer._inputs(7)]
    trainer.train(1)
    other = Trainer(dataclasses.replace(TINY, tau=0, alpha=1.0, learning_rate=0.1), dataset)
    for again in (trainer._inputs(7), other._inputs(7)):
        assert all(
            torch.equal(torch.cat([part.flatten() for part in group]), expected)
            for group, expected in zip(again, first, strict=True)
        )
    following = trainer._inputs(8)[1].latents
    assert not torch.equal(following, trainer._inputs(7)[1].latents)


# Posterior means


def test_posterior_means_do_not_depend_on_how_images_are_grouped(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    indices = np.random.default_rng(0).integers(dataset.num_images, size=11)
    means = trainer.posterior_means(indices)
    assert means.shape == (11, 10)
    assert means.dtype == np.float32
    expected = trainer.model.encode(torch.from_numpy(dataset.images(indices)).float()).mean.detach().numpy()
    for batch_size in (1, 4, 11, 256):
        assert np.abs(trainer.posterior_means(indices, batch_size) - expected).max() < 1e-5


def test_looking_at_posterior_means_does_not_change_training(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    trainer.train(2)
    trainer.posterior_means(np.arange(10))
    trainer.train(2)
    assert_equal_bits(parameters_of(trainer), trained(TINY, dataset, 4))


# Save and restore


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file], ids=["memory", "file"])
@pytest.mark.parametrize("saved_after", [0, 3])
def test_restored_training_goes_on_bit_for_bit(dataset: Dataset, carry: Any, saved_after: int) -> None:
    uninterrupted = Trainer(TINY, dataset)
    uninterrupted.train(saved_after)
    state = carry(uninterrupted.state_dict())
    expected_losses = uninterrupted.train(3)
    restored = Trainer(TINY, dataset)
    restored.step()  # whatever it was before must not matter
    restored.load_state_dict(state)
    assert restored.iteration == saved_after
    assert restored.train(3) == expected_losses
    assert restored.iteration == saved_after + 3
    assert_equal_bits(parameters_of(restored), parameters_of(uninterrupted))


def test_means_go_on_from_a_state_saved_between_them(dataset: Dataset) -> None:
    expected = Trainer(TINY, dataset).train(3)
    interrupted = Trainer(TINY, dataset)
    for _ in range(2):
        interrupted.step()
    state = through_a_file(interrupted.state_dict())
    restored = Trainer(TINY, dataset)
    restored.load_state_dict(state)
    restored.step()
    assert restored.take_means() == expected


def test_means_are_of_the_steps_since_they_were_last_taken(dataset: Dataset) -> None:
    trainer, other = Trainer(TINY, dataset), Trainer(TINY, dataset)
    assert trainer.take_means() == {}
    trainer.train(2)
    assert trainer.take_means() == {}
    other.train(2)
    assert trainer.train(1) == other.train(1)


# Losses that are not finite


def test_loss_that_is_not_finite_names_its_terms(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    with torch.no_grad():
        trainer.model.decoder[0].weight.fill_(math.nan)
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train(1)
    named, _, rest = str(caught.value).partition(" not finite ")
    broken = {"loss", "reconstruction", "replacement_reconstruction", "label_replacement_loss"}
    assert set(named.split(", ")) == broken  # the encoder's own terms are still sound
    assert rest == "within 1 iterations to 1"


def test_loss_that_is_infinite_is_found(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    with torch.no_grad():
        trainer.model.decoder[-1].bias.fill_(-math.inf)
    with pytest.raises(NonFiniteLossError, match="reconstruction"):
        trainer.train(1)


def test_diverging_training_is_found_within_the_iterations(dataset: Dataset) -> None:
    """One step of 1e38 leaves nothing finite, whatever came before it in the same mean."""
    trainer = Trainer(dataclasses.replace(TINY, learning_rate=1e38), dataset)
    with pytest.raises(NonFiniteLossError, match="within 3 iterations to 3"):
        trainer.train(3)


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_compiled_training_agrees_with_plain(dataset: Dataset, tau: float) -> None:
    config = dataclasses.replace(TINY, tau=tau)
    plain, compiled = Trainer(config, dataset), Trainer(config, dataset, compiled=True)
    for _ in range(4):
        expected = plain.train(1)
        assert compiled.train(1) == pytest.approx(expected, rel=1e-3)
