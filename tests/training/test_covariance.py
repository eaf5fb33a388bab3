"""Tangent space: logarithms as scipy's, distances as Riemannian geometry has them."""

import numpy as np
import pytest
from scipy.linalg import eigvalsh, expm, logm

from citrus_ray.training.covariance import (
    SHRINKAGE,
    TangentFeatures,
    covariances,
    of_eigenvalues,
    riemannian_mean,
    tangent,
)


def matrices(n: int = 6, n_rows: int = 4, seed: int = 0) -> np.ndarray:
    """Positive definite ones that do not commute."""
    a = np.random.default_rng(seed).normal(size=(n, n_rows, 3 * n_rows))
    return a @ a.transpose(0, 2, 1) / 12


def whitener_of(mean: np.ndarray) -> np.ndarray:
    return of_eigenvalues(mean, lambda e: e**-0.5)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The Riemannian distance of two matrices."""
    return float(np.linalg.norm(np.log(eigvalsh(one, other))))


def test_logarithms_are_those_of_scipy_and_come_back():
    for matrix in matrices():
        log = of_eigenvalues(matrix, np.log)
        assert log == pytest.approx(logm(matrix), abs=1e-10)
        assert expm(log) == pytest.approx(matrix, abs=1e-10)


def test_the_length_of_a_tangent_vector_is_the_distance_from_the_mean():
    many = matrices()
    mean = riemannian_mean(many)
    lengths = np.linalg.norm(tangent(many, whitener_of(mean)), axis=1)
    assert lengths == pytest.approx([apart(one, mean) for one in many])


def test_the_mean_is_where_logarithms_add_up_to_zero_and_of_diagonals_the_geometric_one():
    many = matrices()
    assert tangent(many, whitener_of(riemannian_mean(many))).sum(axis=0) == pytest.approx(
        np.zeros(10), abs=1e-6
    )
    scales = np.random.default_rng(0).uniform(0.1, 10, (5, 3))
    diagonal = scales[:, :, None] * np.eye(3)
    assert riemannian_mean(diagonal) == pytest.approx(
        np.diag(np.exp(np.log(scales).mean(axis=0))), abs=1e-8
    )


def test_mixing_the_channels_changes_no_distance():
    many, mix = matrices(), np.random.default_rng(1).normal(size=(4, 4))
    mixed = mix @ many @ mix.T

    def distances(given: np.ndarray) -> np.ndarray:
        vectors = tangent(given, whitener_of(riemannian_mean(given)))
        return np.asarray(np.linalg.norm(vectors[:, None] - vectors[None], axis=2))

    assert distances(mixed) == pytest.approx(distances(many), abs=1e-6)


def test_covariances_are_those_of_numpy_but_for_the_shrinkage():
    x = np.random.default_rng(0).normal(size=(3, 2, 50)).astype(np.float32)
    found = covariances(x, (0, 3))
    for window, matrix in zip(x, found, strict=True):
        rows = np.concatenate([window[:, :47], window[:, 3:]])
        plain = np.cov(rows, bias=True)
        shrunk = (1 - SHRINKAGE) * plain + SHRINKAGE * np.trace(plain) / 4 * np.eye(4)
        assert matrix == pytest.approx(shrunk, abs=1e-6)


@pytest.mark.parametrize(
    ("n_chans", "n_times", "n_features"),
    [(1, 200, 21), (3, 200, 171), (8, 200, 136), (50, 200, 528), (1, 9, 6), (2, 2, 3)],
)
def test_matrices_are_bounded_and_delays_fit_into_the_window(n_chans, n_times, n_features):
    x = np.random.default_rng(0).normal(size=(40, n_chans, n_times)).astype(np.float32)
    found = TangentFeatures.of(x, (1, 2, 4, 8, 16))(x)
    assert found.shape == (40, n_features)
    assert np.isfinite(found).all()


def test_silence_has_a_logarithm():
    x = np.zeros((4, 2, 30), dtype=np.float32)
    x[:2] = np.random.default_rng(0).normal(size=(2, 2, 30))
    assert np.isfinite(TangentFeatures.of(x, (1,))(x)).all()
