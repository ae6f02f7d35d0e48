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

from larvae import training
from larvae.config import MemberConfig
from larvae.datasets import Dataset, labelled_indices
from larvae.errors import NonFiniteLossError
from larvae.networks import Architecture, VariationalAutoencoder, initialise
from larvae.objectives import Batch, Noise
from larvae.regularisers import REGULARISERS
from larvae.streams import Stream, generator
from larvae.training import Trainer

TINY = MemberConfig(batch_size=4, label_rate=0.001)
FACTOR_VAE = dataclasses.replace(TINY, regulariser="factor_vae", gamma_tc=10.0)
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


# The same without label replacement, and without labels, written once more


def independent_loss(
    model: VariationalAutoencoder, batch: Batch, noise: Noise, config: MemberConfig
) -> tuple[Tensor, Tensor]:
    """Eq. 4 for N images, or Eq. 1 without labels, with no mention of label replacement; and the samples."""
    size, with_labels = config.batch_size, config.alpha > 0
    images = torch.cat([batch.images, batch.labelled_images]) if with_labels else batch.images
    mean, log_variance = model.encoder(images).chunk(2, dim=1)
    labelled_mean, mean, log_variance = mean[size:], mean[:size], log_variance[:size]
    samples = mean + torch.exp(0.5 * log_variance) * noise.latents
    pixels = model.decoder(samples)
    reconstruction = (pixels - batch.images).square().sum() / size + 0.5 * math.log(math.pi) * 64 * 64
    kl = (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(1).mean()
    loss = reconstruction + kl
    if with_labels:
        loss = loss + config.alpha * (labelled_mean[:, :NUM_FACTORS] - batch.labels).square().sum(1).mean()
    if config.regulariser == "beta_vae":
        return loss + config.gamma_tc * kl, samples
    if config.regulariser == "factor_vae":
        joint, product = model.discriminator(samples).unbind(1)
        return loss + config.gamma_tc * (joint - product).mean(), samples
    squares = (samples[:, None] - mean).square() * torch.exp(-log_variance)  # [i, j, dimension]
    log_density = -0.5 * (squares + log_variance + math.log(2 * math.pi))
    log_size = math.log(737_280 * size)
    joint = log_density.sum(2).logsumexp(1) - log_size
    marginals = (log_density.logsumexp(1) - log_size).sum(1)
    return loss + config.gamma_tc * (joint - marginals).mean(), samples


def independent_discriminator_loss(
    model: VariationalAutoencoder, samples: Tensor, batch: Batch, noise: Noise
) -> Tensor:
    """Kim & Mnih (2018), Algorithm 2: samples against those of a second batch, permuted in each dimension."""
    with torch.no_grad():
        mean, log_variance = model.encoder(batch.second_images).chunk(2, dim=1)
        second_samples = mean + torch.exp(0.5 * log_variance) * noise.second_latents
    columns = [second_samples[noise.permutations[:, d], d] for d in range(second_samples.shape[1])]
    joint, product = torch.zeros(len(samples), dtype=torch.int64), torch.ones(len(samples), dtype=torch.int64)
    return 0.5 * (
        F.cross_entropy(model.discriminator(samples.detach()), joint)
        + F.cross_entropy(model.discriminator(torch.stack(columns, dim=1)), product)
    )


def train_independently(config: MemberConfig, trainer: Trainer, iterations: int) -> tuple[dict[str, Tensor], float]:
    """Parameters and mean loss of a loop with a backward pass for each of its two optimisers.

    Takes nothing but the inputs from the trainer.
    """
    adversarial = config.regulariser == "factor_vae"
    architecture = Architecture(1, NUM_FACTORS + config.z_dim, has_discriminator=adversarial)
    model = initialise(architecture, config.seed)
    discriminator = model.discriminator if adversarial else torch.nn.Module()
    networks = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimiser = torch.optim.Adam(networks, lr=config.learning_rate, fused=True)
    losses = []
    for iteration in range(iterations):
        batch, noise, _ = trainer.inputs(iteration)
        discriminator.requires_grad_(False)
        loss, samples = independent_loss(model, batch, noise, config)
        optimiser.zero_grad()
        loss.backward()
        if adversarial:
            discriminator.requires_grad_(True)
            if iteration == 0:
                second = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=True)
            second.zero_grad()
            independent_discriminator_loss(model, samples, batch, noise).backward()
            second.step()
        optimiser.step()
        losses.append(loss.item())
    return dict(model.named_parameters()), float(np.mean(losses))


@pytest.mark.parametrize("regulariser", ["beta_vae", "beta_tcvae", "factor_vae"])
@pytest.mark.parametrize("alpha", [64.0, 0.0], ids=["baseline", "unsupervised"])
def test_without_tau_training_is_the_baseline_bit_for_bit(dataset: Dataset, regulariser: str, alpha: float) -> None:
    gamma_tc = REGULARISERS[regulariser].default_weight
    config = dataclasses.replace(TINY, tau=0, alpha=alpha, regulariser=regulariser, gamma_tc=gamma_tc)
    trainer = Trainer(config, dataset)
    parameters, loss = train_independently(config, trainer, 3)
    assert trainer.train(3)["loss"] == pytest.approx(loss, rel=1e-5)
    assert_equal_bits(parameters_of(trainer), parameters)


CHANGES: tuple[dict[str, Any], ...] = (
    *({"seed": 1}, {"tau": 0.5}, {"tau": 0}, {"gamma_tc": 3.0}, {"alpha": 63.0}, {"learning_rate": 2e-4}),
    *({"batch_size": 3}, {"label_rate": 0.002}, {"regulariser": "beta_vae"}, {"regulariser": "factor_vae"}),
    *({"density_estimator": "minibatch_stratified"}, {"likelihood": "bernoulli"}, {"pixel_mean": "sigmoid"}),
    *({"pixel_variance": 0.4}, {"instance_norm": False}, {"z_dim": 4}, {"observed_factors": ("shape", "scale")}),
    *({"held_out": 0.1}, {"label_seed": 1}, {"replacement": "inferred"}, {"detach_nuisance": True}),
    *({"label_loss": "cross_entropy"}, {"label_scaling": "index"}, {"label_scaling": "unit"}),
    *({"label_variance": 0.5}, {"label_variance": 0.25}, {"nuisance_variance": 0.5}, {"nuisance_variance": 0.25}),
    {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0, "gamma_tc": 0},
)
DIP = {"regulariser": "dip_vae_i"}


def test_every_hyperparameter_reaches_the_parameters(dataset: Dataset) -> None:
    """Members of one structure share a compiled objective, which must hold none of their weights."""
    ours = trained(TINY, dataset, 2)
    for change in CHANGES:
        others = trained(dataclasses.replace(TINY, **change), dataset, 2)
        assert any(name not in others or not torch.equal(ours[name], others[name]) for name in ours), change
    dip = [MemberConfig.from_dict(TINY.to_dict() | DIP | {"diagonal_weight": weight}) for weight in (1.0, 2.0)]
    first, second = (trained(config, dataset, 2) for config in dip)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    named = {name for change in CHANGES for name in change} | {"dataset", "replacement_likelihood"}
    assert named | {"regulariser_settings"} == {field.name for field in dataclasses.fields(MemberConfig)}


def test_training_lowers_the_loss(dataset: Dataset) -> None:
    trainer = Trainer(dataclasses.replace(TINY, learning_rate=1e-3), dataset)
    first = trainer.train(3)
    trainer.train(15)
    last = trainer.train(3)
    assert last["loss"] < 0.8 * first["loss"]
    assert last["reconstruction"] < 0.8 * first["reconstruction"]


def test_reported_losses_are_means_over_the_iterations_since_the_last_report(dataset: Dataset) -> None:
    one_by_one, at_once = Trainer(TINY, dataset), Trainer(TINY, dataset)
    assert at_once.take_means() == {}
    singles = [one_by_one.train(1) for _ in range(3)]
    assert at_once.train(1) == singles[0]
    assert at_once.take_means() == {}
    means = at_once.train(2)
    assert at_once.iteration == one_by_one.iteration == 3
    assert_equal_bits(parameters_of(at_once), parameters_of(one_by_one))
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean([single[name] for single in singles[1:]]), rel=1e-5)


def test_members_of_one_process_do_not_touch_each_other_nor_the_global_stream(dataset: Dataset) -> None:
    configs = [TINY, dataclasses.replace(TINY, seed=1, tau=3.0)]
    alone = [trained(config, dataset, 2) for config in configs]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        before = torch.random.get_rng_state()
        trainers = [Trainer(config, dataset) for config in configs]
        for _ in range(2):
            for trainer in trainers:
                trainer.train(1)
                trainer.posterior_means(np.arange(3))
        assert torch.equal(torch.random.get_rng_state(), before)
    for trainer, expected in zip(trainers, alone, strict=True):
        assert_equal_bits(parameters_of(trainer), expected)


# Inputs


def test_inputs_are_drawn_from_the_streams_of_their_purposes(dataset: Dataset) -> None:
    """A stream used twice would tie the labelled batch, or its noise, to the batch of all data."""
    trainer = Trainer(FACTOR_VAE, dataset)
    batch, noise, _ = trainer.inputs(3)

    def drawn(stream: Stream, count: int) -> Any:
        return generator(TINY.seed, stream, 3).integers(count, size=4)

    def normal(stream: Stream, dimensions: int) -> Any:
        return generator(TINY.seed, stream, 3).standard_normal((4, dimensions), np.float32)

    assert np.array_equal(trainer.sampler.labelled, labelled_indices(dataset.num_images, TINY.label_rate, TINY.seed))
    labelled = trainer.sampler.labelled[drawn(Stream.LABELLED_BATCH, len(trainer.sampler.labelled))]
    labels = dataset.factors.to_labels(dataset.classes(labelled))
    expected = Batch(
        dataset.images(drawn(Stream.BATCH, dataset.num_images)),
        dataset.images(labelled),
        labels,
        dataset.images(drawn(Stream.SECOND_BATCH, dataset.num_images)),
    )
    assert batch.label_targets is None
    for ours, theirs in zip(batch[:4], expected[:4], strict=True):
        assert ours.dtype == torch.float32
        assert np.array_equal(ours.numpy(), theirs)
    assert np.array_equal(noise.latents.numpy(), normal(Stream.LATENT_NOISE, 10))
    assert np.array_equal(noise.labelled_nuisance.numpy(), normal(Stream.LABELLED_LATENT_NOISE, 5))
    assert np.array_equal(noise.second_latents.numpy(), normal(Stream.SECOND_LATENT_NOISE, 10))


def test_permutations_are_of_each_latent_and_independent(dataset: Dataset) -> None:
    trainer = Trainer(dataclasses.replace(FACTOR_VAE, batch_size=16), dataset)
    permutations = torch.cat([trainer.inputs(iteration)[1].permutations for iteration in range(3)], dim=1)
    assert permutations.shape == (16, 30)
    assert permutations.dtype == torch.int64
    assert torch.equal(permutations.sort(0).values, torch.arange(16)[:, None].expand(16, 30))
    assert len({tuple(column) for column in permutations.T.tolist()}) == 30


def test_inputs_are_no_more_than_the_objective_needs(dataset: Dataset) -> None:
    def given(config: MemberConfig) -> set[str]:
        return {
            name
            for group in Trainer(config, dataset).inputs(0)[:2]
            for name, part in group._asdict().items()
            if part is not None
        }

    labelled = {"labelled_images", "labels", "labelled_nuisance"}
    adversarial = {"second_images", "second_latents", "permutations"}
    unsupervised = {"tau": 0, "alpha": 0}
    assert given(TINY) == {"images", "latents"} | labelled
    assert given(FACTOR_VAE) == {"images", "latents"} | labelled | adversarial
    assert given(dataclasses.replace(TINY, **unsupervised)) == {"images", "latents"}
    assert given(dataclasses.replace(FACTOR_VAE, **unsupervised)) == {"images", "latents"} | adversarial
    assert given(dataclasses.replace(TINY, alpha=0)) == {"images", "latents"} | labelled  # replacement needs labels
    assert given(dataclasses.replace(FACTOR_VAE, gamma_tc=0)) == {"images", "latents"} | labelled


# Posterior means


def test_posterior_means_do_not_depend_on_how_images_are_grouped(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(TINY, dataset)
    indices = np.random.default_rng(0).integers(dataset.num_images, size=11)
    means = trainer.posterior_means(indices)
    assert means.shape == (11, 10)
    assert means.dtype == np.float32
    expected = trainer.model.encode(torch.from_numpy(dataset.images(indices)).float()).mean.detach().numpy()
    for batch_size in (1, 4, 11, 256):
        monkeypatch.setattr(training, "ENCODING_BATCH", batch_size)
        assert np.abs(trainer.posterior_means(indices) - expected).max() < 1e-5


# Save and restore


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file], ids=["memory", "file"])
@pytest.mark.parametrize("config", [TINY, FACTOR_VAE], ids=["β-TCVAE", "FactorVAE"])
def test_restored_training_goes_on_bit_for_bit(dataset: Dataset, config: MemberConfig, carry: Any) -> None:
    """Saved between two reports: the means of the next one begin before."""
    uninterrupted, restored = Trainer(config, dataset), Trainer(config, dataset)
    uninterrupted.train(1)
    uninterrupted.step()
    state = carry(uninterrupted.state_dict())
    expected_losses = uninterrupted.train(1)
    restored.step()  # whatever it was before must not matter
    restored.load_state_dict(state)
    assert restored.iteration == 2
    assert restored.train(1) == expected_losses
    assert restored.iteration == 3
    assert_equal_bits(parameters_of(restored), parameters_of(uninterrupted))


def test_discriminator_s_learning_rate_is_its_own(dataset: Dataset) -> None:
    """At the first step Adam moves each parameter by its learning rate, or not at all."""
    trainer = Trainer(dataclasses.replace(FACTOR_VAE, learning_rate=1e-2), dataset)
    before = parameters_of(trainer)
    trainer.train(1)
    moves = {name: float((p - before[name]).abs().max()) for name, p in parameters_of(trainer).items()}
    for name, move in moves.items():
        assert move == pytest.approx(1e-4 if name.startswith("discriminator.") else 1e-2, rel=0.05), name


# Losses that are not finite


def test_loss_that_is_not_finite_names_its_terms(dataset: Dataset) -> None:
    trainer, infinite = Trainer(TINY, dataset), Trainer(TINY, dataset)
    with torch.no_grad():
        trainer.model.decoder[0].weight.fill_(math.nan)
        infinite.model.decoder[-1].bias.fill_(-math.inf)
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train(1)
    named, _, rest = str(caught.value).partition(" not finite ")
    broken = {"loss", "reconstruction", "replacement_reconstruction", "label_replacement_loss"}
    assert set(named.split(", ")) == broken  # the encoder's own terms are still sound
    assert rest == "within 1 iterations to 1"
    with pytest.raises(NonFiniteLossError, match="reconstruction"):
        infinite.train(1)


# Variants


def test_without_gamma_there_is_no_regulariser_to_compute(dataset: Dataset) -> None:
    """The generic case of Section 4, the same for all three."""
    trainers = [Trainer(dataclasses.replace(TINY, regulariser=name, gamma_tc=0), dataset) for name in REGULARISERS]
    for trainer in trainers:
        assert trainer.structure.terms.penalise is None
        assert trainer.optimisers.keys() == {"model"}
        terms = trainer.train(1)
        assert not {"total_correlation", "discriminator_loss"} & terms.keys()
        expected = terms["reconstruction"] + terms["kl"] + terms["label_loss"] + terms["label_replacement_loss"]
        assert terms["loss"] == pytest.approx(expected, rel=1e-5)
        assert_equal_bits(parameters_of(trainer), parameters_of(trainers[0]))


OBSERVED = dataclasses.replace(TINY, observed_factors=("position_x", "shape"))


@pytest.mark.parametrize("z_dim", [0, 5])
def test_labels_are_those_of_the_observed_factors_only(dataset: Dataset, z_dim: int) -> None:
    trainer = Trainer(dataclasses.replace(OBSERVED, z_dim=z_dim), dataset)
    assert trainer.num_latents == 2 + z_dim
    assert (trainer.sampler.labels.names, trainer.sampler.labels.sizes) == (("shape", "position_x"), (3, 32))
    indices = np.random.default_rng(0).integers(dataset.num_images, size=50)
    classes = dataset.factors.classes(indices)
    assert np.array_equal(trainer.sampler.label_classes(indices), classes[:, [0, 3]])
    assert np.array_equal(trainer.sampler.labels_of(indices), dataset.factors.to_labels(classes)[:, [0, 3]])
    batch, noise, _ = trainer.inputs(0)
    assert batch.labels.shape == (4, 2)
    assert (noise.latents.shape, noise.labelled_nuisance.shape) == ((4, 2 + z_dim), (4, z_dim))
    assert trainer.posterior_means(indices[:5]).shape == (5, 2 + z_dim)
    assert (trainer.train(1)["replacement_kl"] == 0) == (z_dim == 0)


@pytest.mark.parametrize("change", [{}, {"pixel_mean": "sigmoid"}, {"likelihood": "bernoulli"}], ids=str)
def test_decoded_images_are_the_expected_ones_clipped(dataset: Dataset, change: dict[str, Any]) -> None:
    trainer = Trainer(dataclasses.replace(TINY, **change), dataset)
    trainer.train(2)
    rng = np.random.default_rng(0)
    labels, nuisance = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    images = trainer.decode(labels, nuisance)
    latents = torch.cat([torch.from_numpy(labels), torch.from_numpy(nuisance).expand(3, 5)], dim=1)
    output = trainer.model.decoder(latents).detach()
    pixels = (torch.sigmoid(output) if change else output.clamp(0, 1)).numpy()
    assert images.shape == (3, 1, 64, 64)
    assert images.dtype == np.uint8
    assert np.abs(images - 255 * pixels).max() <= 0.5 + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.0},
        {"tau": 1.0},
        {"regulariser": "factor_vae"},
        {"regulariser": "beta_vae", "tau": 0, "alpha": 0},
        {"density_estimator": "minibatch_stratified", "likelihood": "bernoulli", "instance_norm": False},
    ],
    ids=str,
)
def test_compiled_training_agrees_with_plain(
    dataset: Dataset, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, whatever this machine would choose; for bfloat16 see `test_functional`."""
    monkeypatch.setattr(training, "fast_precision", lambda _: torch.float32)
    config = dataclasses.replace(TINY, **change)
    plain, compiled = Trainer(config, dataset), Trainer(config, dataset, compiled=True)
    assert compiled.compiled_in == torch.float32
    for _ in range(4):
        expected = plain.train(1)
        assert compiled.train(1) == pytest.approx(expected, rel=1e-3, abs=1e-4)
