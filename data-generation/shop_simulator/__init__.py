"""A simulated online shop that delivers its data as CSV files, one per entity and day.

Everything about a day follows from seed, opening date, scale, behaviour and date, byte for byte; any day can
be made alone, in any order.
"""

from shop_simulator.arrivals import Arrival, Arrivals, FileDefect, perform
from shop_simulator.behaviour import Behaviour, read_behaviour
from shop_simulator.generation import EntityCount, Generation, generate
from shop_simulator.shop import ENTITIES, Entity, Shop, ShopDay

SIMULATOR_VERSION = 2
"""Rises when the same seed, opening date, scale, behaviour and date give other bytes than before."""

__all__ = [
    "ENTITIES",
    "SIMULATOR_VERSION",
    "Arrival",
    "Arrivals",
    "Behaviour",
    "Entity",
    "EntityCount",
    "FileDefect",
    "Generation",
    "Shop",
    "ShopDay",
    "generate",
    "perform",
    "read_behaviour",
]
