"""A simulated online shop that delivers its data as CSV files, one per entity and day.

Everything about a day follows from seed, opening date, scale and date, byte for byte; any day can be made
alone, in any order.
"""

from shop_simulator.generation import EntityCount, Generation, generate
from shop_simulator.shop import ENTITIES, Entity, Shop, ShopDay

__all__ = ["ENTITIES", "Entity", "EntityCount", "Generation", "Shop", "ShopDay", "generate"]
