"""Random numbers that can be looked up: every draw is a pure function of seed, stream name and position.

Nothing here keeps state between calls, so a value never depends on what was drawn before it, in which
process, or in which order days are made.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Constants of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_VERSION_GAMMA = np.uint64(0xD1342543DE82EF95)
_TO_UNIT = 1.0 / (1 << 53)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return bits ^ (bits >> np.uint64(31))


class Lookup:
    """A stream addressed by an index (a customer, a product, a day) and optionally a version of it."""

    def __init__(self, key: int) -> None:
        self._key = np.array(key, dtype=np.uint64)

    def bits(self, index: ArrayLike, version: ArrayLike | None = None) -> NDArray[np.uint64]:
        """64 random bits per index; index and version are whole numbers >= 0 of the same shape."""
        position = np.atleast_1d(np.asarray(index)).astype(np.uint64)
        mixed = _mix(self._key + (position + np.uint64(1)) * _GAMMA)
        if version is not None:
            steps = np.atleast_1d(np.asarray(version)).astype(np.uint64)
            mixed = _mix(mixed + (steps + np.uint64(1)) * _VERSION_GAMMA)
        return mixed

    def unit(self, index: ArrayLike, version: ArrayLike | None = None) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1), one per index."""
        return (self.bits(index, version) >> np.uint64(11)).astype(np.float64) * _TO_UNIT

    def below(
        self, limit: ArrayLike, index: ArrayLike, version: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Whole numbers in [0, limit), one per index; limit may differ per index."""
        numbers: NDArray[np.int64] = (self.unit(index, version) * np.asarray(limit)).astype(np.int64)
        return numbers


class Streams:
    """The named random streams of one shop; streams with different names are independent."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lookups: dict[str, Lookup] = {}

    def key(self, name: str) -> int:
        """The 64-bit key of a stream: a hash of seed and name, the same in every process."""
        digest = hashlib.blake2b(f"{self._seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    def lookup(self, name: str) -> Lookup:
        """A stream for random access by index."""
        if name not in self._lookups:
            self._lookups[name] = Lookup(self.key(name))
        return self._lookups[name]

    def of_day(self, name: str, day: int) -> np.random.Generator:
        """A generator for one day's bulk draws; day counts from 0, the opening day."""
        return np.random.Generator(np.random.Philox(key=np.array([self.key(name), day], dtype=np.uint64)))


def mixture(*shares: int) -> NDArray[np.uint8]:
    """A table of 1000 codes in which code i stands shares[i] times: draw a code by a uniform lookup.

    Raises ValueError when the shares do not sum to 1000.
    """
    if sum(shares) != 1000:
        raise ValueError(f"shares must sum to 1000, not {sum(shares)}")
    return np.repeat(np.arange(len(shares), dtype=np.uint8), shares)
