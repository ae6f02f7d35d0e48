"""InfoM, InfoE and InfoC (Hsu et al., 2023), as the authors' latent_quantization computes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from larvae.metrics.information import discrete_mutual_information
from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pool, varying_factors

NUM_NEIGHBOURS = 10
"""Neighbours of the same class from which mutual information is estimated."""
MIN_RELATIVE_RANGE = 1 / 20
"""A dimension is active if its range exceeds this part of the widest one's."""


class InfoMEC(NamedTuple):
    """The three scores, each in [0, 1]."""

    modularity: float
    """InfoM: degree to which each active dimension informs on one factor only."""
    explicitness: float
    """InfoE: part of a factor's entropy that a linear classifier of all dimensions saves, mean over factors."""
    compactness: float
    """InfoC: degree to which one active dimension only informs on each factor."""


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """InfoM, InfoE and InfoC over all dimensions and all factors."""
    values = infomec(sample.codes, sample.classes, generator)
    return {"infom": values.modularity, "infoe": values.explicitness, "infoc": values.compactness}


def infomec(codes: NDArray[np.floating], classes: NDArray[np.integer], generator: np.random.Generator) -> InfoMEC:
    """InfoMEC of continuous codes, from a single pool: InfoE is scored on the images that it is fitted to.

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k), non-negative.
    Perfect codes reach 1 in all three. Constant codes score 0. Noise has an InfoE of next to 0, but
    InfoM and InfoC then compare what the estimate errs by, and are anything between 0 and 1.

    Active dimensions are those of the original's metrics/infomec.py; its training code asks for a
    range of 1/8 of the widest. The original gives NaN where a ratio is 0/0; see `info_modularity`.
    A factor that does not vary is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pool(codes, classes)
    classes = classes[:, varying_factors(classes)]
    standardised = StandardScaler().fit_transform(codes.astype(np.float64))
    information = normalised_information(standardised[:, active_dimensions(codes)], classes, generator)
    return InfoMEC(
        modularity=info_modularity(information),
        explicitness=info_explicitness(standardised, classes),
        compactness=info_compactness(information),
    )


def active_dimensions(codes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark the dimensions, (d,), of a range above 1/20 of the widest; none if codes (n, d) are constant."""
    ranges = np.ptp(codes, axis=0)
    return np.asarray(ranges > MIN_RELATIVE_RANGE * ranges.max())


def normalised_information(
    codes: NDArray[np.floating], classes: NDArray[np.integer], generator: np.random.Generator
) -> NDArray[np.float64]:
    """I(dimension, factor)/H(factor), (d, k), from codes (n, d) and classes (n, k) of factors that vary.

    By the nearest neighbours within classes (Ross, 2014), which is 0 or more, and may exceed 1 by its error.
    A factor of which no class occurs twice has no neighbours, and 0.
    """
    information = np.zeros((codes.shape[1], classes.shape[1]))
    for factor, column in enumerate(classes.T):
        if codes.shape[1] > 0 and np.bincount(column).max() > 1:
            seed = int(generator.integers(2**31))  # of the 1e-10 that are added to tell equal codes apart
            information[:, factor] = mutual_info_classif(
                codes, column, discrete_features=False, n_neighbors=NUM_NEIGHBOURS, random_state=seed
            ) / discrete_mutual_information(column, column)
    return information


def info_modularity(information: NDArray[np.floating]) -> float:
    """Mean over dimensions of max I / Σ I, rescaled so that 1/k is 0, from information (d, k) >= 0.

    A dimension that knows nothing is left out, as in the original's training code; if all are, the score is 0.
    With a single factor every other dimension scores 1.
    """
    return _concentration(information)


def info_compactness(information: NDArray[np.floating]) -> float:
    """InfoM with the roles of dimensions and factors exchanged: 1/d is 0."""
    return _concentration(information.T)


def info_explicitness(codes: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """Mean over factors of 1 − H(factor | codes)/H(factor), from standardised codes (n, d) and classes (n, k).

    Entropies are predictive (Xu et al., 2020): a logistic regression's cross-entropy in nats, without
    penalty and with classes weighted to count alike. One that sees nothing gives all classes the same
    probability, so that H(factor) is the logarithm of their number. As in the original the cross-entropy
    itself is not weighted: where classes are unequally frequent it may exceed H(factor). The factor then
    counts 0, where the original's is negative.
    """
    saved = []
    for column in classes.T:
        # No penalty; the original's 100 iterations may end before the optimum.
        model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=1000).fit(codes, column)
        ratio = log_loss(column, model.predict_proba(codes)) / np.log(len(model.classes_))
        saved.append(max(1 - ratio, 0.0))  # a family that may ignore the codes has no negative information
    return float(np.mean(saved))


def _concentration(information: NDArray[np.floating]) -> float:
    """Mean over rows that are not 0 of max/sum, rescaled so that equal entries give 0 and a single one 1."""
    sums = information.sum(axis=1)
    if not sums.any():
        return 0.0
    length = information.shape[1]
    if length == 1:
        return 1.0  # nothing to be divided among
    shares = information[sums > 0].max(axis=1) / sums[sums > 0]
    return float((shares.mean() - 1 / length) / (1 - 1 / length))
