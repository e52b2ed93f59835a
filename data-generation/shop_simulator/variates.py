"""Gamma and beta variates that can be looked up: pure functions of a stream and an index."""

import numpy as np
from numpy.typing import NDArray

from shop_simulator.csv_text import Ints
from shop_simulator.randomness import Lookup, Streams


class GammaLookup:
    """Gamma variates of one shape and scale 1, addressed by an index.

    By rejection (Marsaglia, Tsang, "A Simple Method for Generating Gamma Variables", ACM TOMS 26, 2000):
    attempt k of an index takes its own three uniform numbers, so no index depends on another.
    """

    def __init__(self, streams: Streams, name: str, shape: float) -> None:
        self._stream = streams.lookup(name)
        self._boost = streams.lookup(f"{name}/boost") if shape < 1 else None
        self._shape = shape

    def at(self, index: Ints) -> NDArray[np.float64]:
        """One variate per index (whole numbers >= 0), always greater than 0."""
        index = np.asarray(index)
        value = self._by_rejection(index, self._shape if self._boost is None else self._shape + 1)
        if self._boost is not None:  # Gamma(k) is Gamma(k + 1) times U ** (1 / k)
            value *= _above_zero(self._boost, index) ** (1 / self._shape)
        return value

    def _by_rejection(self, index: Ints, shape: float) -> NDArray[np.float64]:
        d = shape - 1 / 3
        c = 1 / np.sqrt(9 * d)
        value = np.empty(len(index))
        left = np.arange(len(index))
        attempt = 0
        while len(left):
            tried = index[left]
            number = np.full(len(left), 3 * attempt)
            radius = np.sqrt(-2 * np.log(_above_zero(self._stream, tried, number)))
            normal = radius * np.cos(2 * np.pi * self._stream.unit(tried, number + 1))
            v = np.maximum(1 + c * normal, 0.0) ** 3
            with np.errstate(divide="ignore"):  # v = 0 is refused below: its logarithm is minus infinity
                bound = 0.5 * normal**2 + d * (1 - v + np.log(v))
            taken = np.log(_above_zero(self._stream, tried, number + 2)) < bound
            value[left[taken]] = d * v[taken]
            left = left[~taken]
            attempt += 1
        return value


class BetaLookup:
    """Beta variates addressed by an index, as X / (X + Y) of two gamma variates."""

    def __init__(self, streams: Streams, name: str, a: float, b: float) -> None:
        self._x = GammaLookup(streams, f"{name}/x", a)
        self._y = GammaLookup(streams, f"{name}/y", b)

    def at(self, index: Ints) -> NDArray[np.float64]:
        """One variate in [0, 1] per index (whole numbers >= 0)."""
        x = self._x.at(index)
        return x / (x + self._y.at(index))


def exponential(stream: Lookup, index: Ints, version: Ints) -> NDArray[np.float64]:
    """Exponential variates of mean 1, one per index and version of it."""
    gaps: NDArray[np.float64] = -np.log(_above_zero(stream, index, version))
    return gaps


def _above_zero(stream: Lookup, index: Ints, version: Ints | None = None) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1]."""
    return 1.0 - stream.unit(index, version)
