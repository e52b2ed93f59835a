"""How the shop is run and how its visitors behave: every parameter of what happens around the orders.

Marketing, payments, returns, stock and web sessions. The figures are the shop's own; what is written here is
the truth that tests and analyses are held against.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ALWAYS = tuple(range(1, 13))
_GOOGLE = "https://www.google.com/"


def _check_shares(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1, not {value}")


def _check_rates(name: str, rates: Mapping[str, float]) -> None:
    for key, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"{name}.{key} must be a share from 0 to 1, not {rate}")


@dataclass(frozen=True)
class Source:
    """A way to the shop: a channel nobody pays for, or a campaign of a paid one."""

    channel: str
    campaign: str
    """Empty: nobody pays, and there are no impressions to count."""
    share: float
    """Expected registrations while it runs, relative to the shop's registrations of an average day."""
    conversion: float
    """Probability that a click (a visit, where nobody pays) ends in a registration."""
    click_rate: float = 1.0
    """Probability that an impression is clicked."""
    click_cost: int = 0
    """Mean cost of a click in cents."""
    utm_source: str = ""
    """What landing pages name as its origin; the medium they name is the channel."""
    referrer: str = ""
    """The page its visitors come from; empty: browsers tell none."""
    months: tuple[int, ...] = ALWAYS
    """The months it runs in, 1 to 12."""

    def __post_init__(self) -> None:
        _check_shares(self, "conversion", "click_rate")
        if self.conversion == 0 or self.click_rate == 0:
            raise ValueError("conversion and click_rate must be greater than 0")
        if self.share < 0 or self.click_cost < 0:
            raise ValueError("share and click_cost must be 0 or greater")

    @property
    def is_paid(self) -> bool:
        """Whether it has rows in the files of spend."""
        return bool(self.campaign)


@dataclass(frozen=True)
class MarketingBehaviour:
    """How customers are won.

    `first_rate` registrations are expected on an average day after the opening, growing in a straight
    line to `later_rate` within `growth_days`, at scale 1. A day's reach varies by `reach_noise` to either
    side for the whole shop and again for each source; what a click costs varies by `cost_noise`.
    """

    first_rate: float = 7.2
    later_rate: float = 15.8
    growth_days: int = 730
    reach_noise: float = 0.15
    cost_noise: float = 0.1
    sources: tuple[Source, ...] = (
        Source("organic_search", "", 0.313, 0.030, referrer=_GOOGLE),
        Source("direct", "", 0.130, 0.055),
        Source("paid_search", "brand", 0.070, 0.075, 0.085, 45, "google", _GOOGLE),
        Source("paid_search", "generic", 0.090, 0.038, 0.032, 110, "bing", "https://www.bing.com/"),
        Source("paid_search", "holiday_sale", 0.060, 0.045, 0.045, 140, "google", _GOOGLE, (11, 12)),
        Source("social", "prospecting", 0.100, 0.016, 0.011, 55, "facebook", "https://www.facebook.com/"),
        Source("social", "retargeting", 0.050, 0.034, 0.019, 70, "instagram", "https://l.instagram.com/"),
        Source(
            "social", "summer_outlet", 0.040, 0.024, 0.014, 60, "tiktok", "https://www.tiktok.com/", (6, 7)
        ),
        Source("email", "newsletter", 0.055, 0.052, 0.028, 8, "newsletter"),
        Source("email", "welcome_offer", 0.035, 0.080, 0.041, 8, "newsletter"),
        Source("referral", "refer_a_friend", 0.090, 0.110, 0.120, 60, "friend", "https://chat.example.com/"),
        Source(
            "affiliate", "coupon_sites", 0.030, 0.045, 0.022, 65, "coupons", "https://coupons.example.net/"
        ),
        Source("affiliate", "bloggers", 0.020, 0.030, 0.015, 50, "blogs", "https://blog.example.org/"),
    )

    def __post_init__(self) -> None:
        _check_shares(self, "reach_noise", "cost_noise")
        if not self.sources:
            raise ValueError("at least one source must bring customers")
        if self.first_rate < 0 or self.later_rate < 0 or self.growth_days < 1:
            raise ValueError("rates of registration must be 0 or greater and growth_days 1 or greater")
        names = [(source.channel, source.campaign) for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("each channel and campaign must be named once among the sources")


@dataclass(frozen=True)
class PaymentBehaviour:
    """How often payments fail; each attempt fails independently, but for the last one allowed."""

    failure_rates: Mapping[str, float] = field(
        default_factory=lambda: {
            "credit_card": 0.085,
            "debit_card": 0.065,
            "paypal": 0.03,
            "bank_transfer": 0.05,
            "gift_card": 0.04,
        }
    )
    """By method of payment."""
    refund_hours: int = 72
    """A cancelled order is paid back within this time."""

    def __post_init__(self) -> None:
        _check_rates("failure_rates", self.failure_rates)
        if not 1 <= self.refund_hours <= 96:
            raise ValueError("refund_hours must be from 1 to 96")


@dataclass(frozen=True)
class ReturnBehaviour:
    """Which delivered lines come back, and why."""

    rates: Mapping[str, float] = field(
        default_factory=lambda: {
            "Electronics": 0.07,
            "Home & Kitchen": 0.055,
            "Clothing": 0.16,
            "Sports & Outdoors": 0.06,
            "Beauty": 0.025,
            "Toys & Games": 0.035,
            "Books": 0.02,
        }
    )
    """By category: probability that a line that came in time is sent back, wholly or in part."""
    late_factor: float = 1.8
    """A line that came late is this many times as likely to be sent back."""
    promised_days: Mapping[str, int] = field(
        default_factory=lambda: {"standard": 9, "express": 5, "overnight": 3, "pickup": 5}
    )
    """By shipping method: an order is late when it is delivered more than this long after it was placed."""
    reasons: Mapping[str, float] = field(
        default_factory=lambda: {
            "defective": 0.19,
            "damaged_in_transit": 0.12,
            "wrong_item": 0.09,
            "not_as_described": 0.24,
            "changed_mind": 0.36,
        }
    )
    """Why lines are sent back; the shares sum to 1."""
    late_reason_share: float = 0.4
    """Share of late lines' returns whose reason is `arrived_late`; the others have the reasons above."""
    whole_share: float = 0.65
    """Share of returns of lines with several units that bring back all of them."""

    def __post_init__(self) -> None:
        _check_rates("rates", self.rates)
        _check_shares(self, "late_reason_share", "whole_share")
        for category, rate in self.rates.items():
            if not 0 <= rate * self.late_factor <= 1:
                raise ValueError(f"rates.{category} times late_factor must be a share from 0 to 1")
        if abs(sum(self.reasons.values()) - 1) > 1e-9:
            raise ValueError("the shares of the reasons must sum to 1")


@dataclass(frozen=True)
class StockBehaviour:
    """How stock is kept.

    A product is ordered again when what is there falls to what `lead_days` and `safety_days` of expected
    sales take, in a quantity for `cover_days`; it comes after the product's lead time.
    """

    is_limited: bool = True
    """False: every product can always be bought, whatever the stock says."""
    first_lead_days: int = 3
    last_lead_days: int = 9
    safety_days: float = 4.0
    cover_days: float = 21.0

    def __post_init__(self) -> None:
        if not 1 <= self.first_lead_days <= self.last_lead_days:
            raise ValueError("lead times must be 1 day or longer, the first not longer than the last")
        if self.safety_days < 0 or self.cover_days <= 0:
            raise ValueError("safety_days must be 0 or greater and cover_days greater than 0")


@dataclass(frozen=True)
class Funnel:
    """How sessions on one kind of device go on: probabilities of each step for those who made the last."""

    session_share: float
    """Share of all sessions; those of the devices sum to 1."""
    product_view: float
    """Of all sessions."""
    add_to_cart: float
    """Of sessions with a product view."""
    checkout: float
    """Of sessions with something in the cart."""
    purchase: float
    """Of sessions that reached the checkout."""

    def __post_init__(self) -> None:
        _check_shares(self, "session_share", "product_view", "add_to_cart", "checkout", "purchase")
        if self.conversion == 0:
            raise ValueError("every step of a funnel must have a probability greater than 0")

    @property
    def steps(self) -> tuple[float, float, float, float]:
        """The probabilities in the order of the steps."""
        return (self.product_view, self.add_to_cart, self.checkout, self.purchase)

    @property
    def conversion(self) -> float:
        """Probability that a session ends in a purchase."""
        return self.product_view * self.add_to_cart * self.checkout * self.purchase


@dataclass(frozen=True)
class WebBehaviour:
    """How visitors use the web shop."""

    devices: Mapping[str, Funnel] = field(
        default_factory=lambda: {
            "desktop": Funnel(0.38, 0.62, 0.24, 0.52, 0.62),
            "mobile": Funnel(0.54, 0.55, 0.17, 0.42, 0.52),
            "tablet": Funnel(0.08, 0.60, 0.21, 0.48, 0.58),
        }
    )
    sampling_rate: float = 0.115
    """Share of all sessions, with or without a purchase, that are in the files."""
    known_share: float = 0.3
    """Share of sessions without a purchase, and which no channel brought, in which the visitor is known."""
    search_share: float = 0.3
    """Share of sessions in which something is searched for."""
    city_unknown_share: float = 0.05
    """Share of sessions whose address tells no city."""

    def __post_init__(self) -> None:
        _check_shares(self, "sampling_rate", "known_share", "search_share", "city_unknown_share")
        if abs(sum(funnel.session_share for funnel in self.devices.values()) - 1) > 1e-9:
            raise ValueError("the devices' shares of sessions must sum to 1")
