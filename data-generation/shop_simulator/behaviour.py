"""How the shop's customers behave: every parameter with its unit and its source, and how a file changes them.

The defaults are published where a source is named; the others are the shop's own. What is written here is
the truth that tests and analyses are held against.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from shop_simulator.operations import (
    MarketingBehaviour,
    PaymentBehaviour,
    ReturnBehaviour,
    StockBehaviour,
    WebBehaviour,
)

_T = TypeVar("_T")

_LONGEST_DELIVERY = 240


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a number greater than 0, not {value}")


def _share(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1, not {value}")


@dataclass(frozen=True)
class Buying:
    """When customers buy and stop: BG/NBD.

    While alive, customer i buys at exponential gaps of rate lambda_i ~ Gamma(r, rate alpha) per week, and
    dies after each repeat purchase with probability p_i ~ Beta(a, b); the first purchase is the start and
    cannot kill. Fader, Hardie, Lee, "Counting Your Customers the Easy Way", Marketing Science 24 (2005);
    the four parameters are theirs for the CDNOW data, in weeks.
    """

    r: float = 0.2426
    alpha: float = 4.414
    """In weeks."""
    a: float = 0.793
    b: float = 2.426
    first_purchase_share: float = 1.0
    """Share of registered customers who buy, for the first time soon after registering; others never do."""
    guest_share: float = 0.04
    """Share of all orders that are placed without an account."""

    def __post_init__(self) -> None:
        _positive(self, "r", "alpha", "a", "b")
        _share(self, "first_purchase_share", "guest_share")
        if self.guest_share >= 1:
            raise ValueError("guest_share must be less than 1")


@dataclass(frozen=True)
class Spend:
    """What an order's goods are worth: gamma-gamma.

    Customer i's orders are worth z ~ Gamma(p, rate nu_i) with nu_i ~ Gamma(q, rate gamma), independent of how
    often they buy. Fader, Hardie, Lee, "RFM and CLV: Using Iso-Value Curves for Customer Base Analysis",
    Journal of Marketing Research 42 (2005); p, q and gamma are theirs for the CDNOW data (mean 35 dollars).
    """

    is_modelled: bool = True
    """False: baskets are drawn by popularity alone and what they are worth is left to chance."""
    p: float = 6.25
    q: float = 3.74
    gamma: float = 15.45
    """In dollars."""
    scale: float = 4.0
    """This shop sells more than records: orders are worth this many times CDNOW's; multiplies gamma."""

    def __post_init__(self) -> None:
        _positive(self, "p", "q", "gamma", "scale")


@dataclass(frozen=True)
class Calendar:
    """Which rhythms the shop's traffic follows; without any, every day is like the other."""

    has_seasons: bool = True
    has_weekdays: bool = True
    has_holidays: bool = True


@dataclass(frozen=True)
class Prices:
    """Whether prices change, and how demand answers: popularity * (price / base price) ^ -elasticity."""

    has_changes: bool = True
    elasticity: Mapping[str, float] = field(
        default_factory=lambda: {
            "Electronics": 2.0,
            "Home & Kitchen": 1.5,
            "Clothing": 1.8,
            "Sports & Outdoors": 1.6,
            "Beauty": 1.0,
            "Toys & Games": 2.4,
            "Books": 1.2,
        }
    )
    """By category; 0: demand takes no notice of the price."""


@dataclass(frozen=True)
class Popularity:
    """How demand is spread over products: Zipf's law, the product of rank k sells as k ^ -exponent."""

    zipf_exponent: float = 0.8

    def __post_init__(self) -> None:
        _positive(self, "zipf_exponent")


@dataclass(frozen=True)
class Affinity:
    """Planted pairs: an order with a pair's first product gets its second one with this probability."""

    pairs: int = 8
    probability: float = 0.35

    def __post_init__(self) -> None:
        _share(self, "probability")
        if self.pairs < 0:
            raise ValueError(f"pairs must be 0 or greater, not {self.pairs}")


@dataclass(frozen=True)
class Segment:
    """What is special about a customer segment."""

    spend_factor: float = 1.0
    """Orders are worth this many times what gamma-gamma says."""
    discount_share: float = 0.15
    """Share of order lines with a discount."""

    def __post_init__(self) -> None:
        _positive(self, "spend_factor")
        _share(self, "discount_share")


@dataclass(frozen=True)
class Ordering:
    """What becomes of an order."""

    cancelled_share: float = 0.04
    discount_percents: tuple[int, ...] = (5, 10, 10, 15, 20, 25)
    """A discounted line's percentage is one of these, each as likely."""

    def __post_init__(self) -> None:
        _share(self, "cancelled_share")
        if not self.discount_percents or not all(0 < percent < 100 for percent in self.discount_percents):
            raise ValueError("discount_percents must be whole numbers from 1 to 99")


@dataclass(frozen=True)
class ShippingMethod:
    """How an order travels; hours from shipping to delivery are uniform from least to least + spread."""

    share: float
    """Share of orders, in whole thousandths; those of all methods sum to 1."""
    least_hours: int
    spread_hours: int

    def __post_init__(self) -> None:
        _share(self, "share")
        if self.least_hours < 1 or self.spread_hours < 0:
            raise ValueError("least_hours must be 1 or greater and spread_hours 0 or greater")


@dataclass(frozen=True)
class Shipping:
    """Delays by method and country."""

    methods: Mapping[str, ShippingMethod] = field(
        default_factory=lambda: {
            "standard": ShippingMethod(0.64, 48, 132),
            "express": ShippingMethod(0.21, 20, 48),
            "overnight": ShippingMethod(0.06, 10, 14),
            "pickup": ShippingMethod(0.09, 2, 60),
        }
    )
    country_hours: Mapping[str, int] = field(
        default_factory=lambda: {"US": 0, "DE": 24, "FR": 30, "ES": 36, "PL": 44}
    )
    """What a delivery to a country takes longer, except for what is picked up."""

    def __post_init__(self) -> None:
        total = round(1000 * sum(method.share for method in self.methods.values()))
        if total != 1000:
            raise ValueError(f"the shares of the shipping methods must sum to 1, not {total / 1000}")
        if min(self.country_hours.values()) < 0:
            raise ValueError("country_hours must be 0 or greater")
        longest = max(each.least_hours + each.spread_hours for each in self.methods.values())
        if longest + max(self.country_hours.values()) > _LONGEST_DELIVERY:
            raise ValueError(
                f"a delivery must take no more than {_LONGEST_DELIVERY} hours, so that an order is over in "
                "two weeks: least_hours + spread_hours + country_hours"
            )


@dataclass(frozen=True)
class Behaviour:
    """All that is known about how the shop's customers behave."""

    buying: Buying = field(default_factory=Buying)
    spend: Spend = field(default_factory=Spend)
    calendar: Calendar = field(default_factory=Calendar)
    prices: Prices = field(default_factory=Prices)
    popularity: Popularity = field(default_factory=Popularity)
    affinity: Affinity = field(default_factory=Affinity)
    segments: Mapping[str, Segment] = field(
        default_factory=lambda: {
            "Consumer": Segment(0.9, 0.14),
            "Corporate": Segment(1.25, 0.20),
            "Home Office": Segment(1.0, 0.10),
        }
    )
    ordering: Ordering = field(default_factory=Ordering)
    shipping: Shipping = field(default_factory=Shipping)
    marketing: MarketingBehaviour = field(default_factory=MarketingBehaviour)
    payments: PaymentBehaviour = field(default_factory=PaymentBehaviour)
    returns: ReturnBehaviour = field(default_factory=ReturnBehaviour)
    stock: StockBehaviour = field(default_factory=StockBehaviour)
    web: WebBehaviour = field(default_factory=WebBehaviour)

    def as_dict(self) -> dict[str, Any]:
        """All settings as they stand in a file."""
        return asdict(self)


def read_behaviour(path: Path) -> Behaviour:
    """The default behaviour with what a TOML or JSON file (by its ending) changes about it.

    Raises ValueError, naming file and setting, for an unknown setting or a value that makes no sense, and
    OSError when the file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        settings = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return changed(Behaviour(), settings)
    except ValueError as error:  # what both parsers raise, too
        raise ValueError(f"{path}: {error}") from error


def changed(known: _T, settings: object, name: str = "") -> _T:
    """A copy of `known` in which `settings`, nested like it, take the place of what is there.

    `name` is where in the file the settings stand. Raises ValueError for a setting that `known` has not, a
    value of another kind, or one that makes no sense.
    """
    where = name or "the file"
    result: Any
    if is_dataclass(known) and not isinstance(known, type):
        values = _merged({each.name: getattr(known, each.name) for each in fields(known)}, settings, name)
        try:
            result = replace(known, **values)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    elif isinstance(known, Mapping):
        result = {**known, **_merged(known, settings, name)}
    elif isinstance(known, tuple):
        if not isinstance(settings, list):
            raise ValueError(f"{where} must be a list, not {settings!r}")
        result = tuple(changed(known[0], value, name) for value in settings)
    elif isinstance(known, float) and type(settings) is int:
        result = float(settings)
    elif type(settings) is type(known):
        result = settings
    else:
        raise ValueError(f"{where} must be of type {type(known).__name__}, not {settings!r}")
    return result  # type: ignore[no-any-return]


def _merged(known: Mapping[str, Any], settings: object, name: str) -> dict[str, Any]:
    where = name or "the file"
    if not isinstance(settings, Mapping):
        raise ValueError(f"{where} must be a table of settings, not {settings!r}")
    for key in settings:
        if key not in known:
            raise ValueError(f"unknown setting {key!r} in {where}; known are {', '.join(known)}")
    return {
        key: changed(known[key], value, f"{name}.{key}" if name else key) for key, value in settings.items()
    }
