"""What visitors do in the web shop: sessions that walk a funnel, of which a sample stands in the files.

Every order is the end of a session. How many sessions ended earlier, and after which step, follows from the
number of orders and the funnel of each kind of device. Of all of them the same share is sampled, so that
rates among the sampled sessions estimate the rates among all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from shop_simulator import csv_text as csv
from shop_simulator import customers
from shop_simulator.browsers import USER_AGENTS
from shop_simulator.csv_text import Text
from shop_simulator.customers import CustomerBase
from shop_simulator.days import DAY_SECONDS, Days, second_of_day
from shop_simulator.demand import GUEST
from shop_simulator.marketing import Marketing
from shop_simulator.operations import Source, WebBehaviour
from shop_simulator.orders import OrderBook
from shop_simulator.pools import LOCALE_MIX, Pools
from shop_simulator.products import Catalogue
from shop_simulator.randomness import Streams

COLUMNS = (
    "event_id",
    "customer_id",
    "session_id",
    "event_type",
    "product_id",
    "event_timestamp",
    "user_agent",
    "ip_address",
    "referrer",
    "page_url",
    "device_type",
    "country",
    "city",
)

EVENT_TYPES = ("page_view", "search", "product_view", "add_to_cart", "checkout", "purchase")
_PAGE, _SEARCH, _VIEW, _CART, _CHECKOUT, _PURCHASE = range(6)
STEPS = ("sessions", "product_view", "add_to_cart", "checkout", "purchase")
"""The steps of the funnel; a session is known by the last one it reached."""

SHOP_URL = "https://shop.example.com/"
_PAGES = ("new", "sale", "about", "shipping", "gift-ideas", "size-guide")
_QUERIES = ("lamp", "jacket", "headphones", "gift", "tent", "cream", "puzzle", "cookbook", "shoes", "mouse")

_NONE = -1
_IPV6_SHARE = 0.25
# Mean numbers of what a session has beyond what its funnel takes.
_MORE_PAGES = 0.6
_MORE_VIEWS = 1.2
_MORE_CARTS = 0.4
# Seconds between a session's events: at least, and on average beyond that.
_LEAST_GAP = 4.0
_MORE_GAP = 35.0


@dataclass(frozen=True)
class _Sessions:
    """The sampled sessions of a day in the order of their start, one element each."""

    device: NDArray[np.int64]
    order: NDArray[np.int64]
    """Position among the day's orders; -1: the session ends without one."""
    customer: NDArray[np.int64]
    """-1: unknown."""
    source: NDArray[np.int64]
    """Which of the shop's sources brought the visitor; -1: none."""
    pages: NDArray[np.int64]
    searches: NDArray[np.int64]
    views: NDArray[np.int64]
    carts: NDArray[np.int64]
    """How many products are put into the cart: the last ones viewed."""
    checkouts: NDArray[np.int64]
    purchases: NDArray[np.int64]
    anchor: NDArray[np.int64]
    """Second of the day of the first event, of a purchase the second of the last one."""
    gap: NDArray[np.float64]
    """Seconds between two events."""

    @property
    def events(self) -> NDArray[np.int64]:
        """How many events each session has."""
        return self.pages + self.searches + self.views + self.carts + self.checkouts + self.purchases

    def take(self, chosen: NDArray[np.int64] | slice) -> "_Sessions":
        return _Sessions(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Day:
    number: int
    sessions: _Sessions
    viewed: NDArray[np.int64]
    """The products viewed, session by session."""
    all_steps: NDArray[np.int64]
    """Of all sessions by device (row), how many ended after each of the STEPS."""
    sampled_steps: NDArray[np.int64]
    """Of those that were sampled, likewise."""


class Web:
    """The visits to a shop's web site."""

    def __init__(
        self,
        streams: Streams,
        days: Days,
        pools: Pools,
        customer_base: CustomerBase,
        marketing: Marketing,
        catalogue: Catalogue,
        orders: OrderBook,
        behaviour: WebBehaviour,
    ) -> None:
        self._streams = streams
        self._days = days
        self._pools = pools
        self._customers = customer_base
        self._marketing = marketing
        self._catalogue = catalogue
        self._orders = orders
        self._behaviour = behaviour
        self._funnels = list(behaviour.devices.values())
        self._devices = list(behaviour.devices)
        self._text = _Text.make(marketing.sources, self._devices)
        self._day: _Day | None = None

    def chunks(self, day: int, rows: int) -> Iterator[tuple[bytes | bytearray, int]]:
        """CSV lines of a day's events, session by session in the order of their start."""
        known = self._of(day)
        ends = np.cumsum(known.sessions.events)
        total = int(ends[-1]) if len(ends) else 0
        bounds = np.unique(np.searchsorted(ends, np.arange(rows, total + rows, rows), side="right"))
        start = 0
        for end in (*bounds.tolist(), len(ends)):
            if end > start:
                part = slice(start, end)
                first_event = int(ends[start] - known.sessions.events[start])
                events = int(ends[end - 1]) - first_event
                yield csv.render(self._columns(known, part, first_event), events), events
                start = end

    def totals(self, day: int) -> dict[str, int]:
        """A day's events by type, and by device how many sessions, all and sampled, reached each step."""
        known = self._of(day)
        sessions = known.sessions
        by_type = (
            sessions.pages,
            sessions.searches,
            sessions.views,
            sessions.carts,
            sessions.checkouts,
            sessions.purchases,
        )
        totals = {name: int(count.sum()) for name, count in zip(EVENT_TYPES, by_type, strict=True)}
        for scope, steps in (("all", known.all_steps), ("sampled", known.sampled_steps)):
            reached = steps[:, ::-1].cumsum(axis=1)[:, ::-1]
            for device, counts in zip(self._devices, reached, strict=True):
                totals |= {
                    f"{scope}_{device}_{step}": int(count) for step, count in zip(STEPS, counts, strict=True)
                }
        return totals

    def _of(self, day: int) -> _Day:
        if self._day is None or self._day.number != day:
            self._day = self._derive(day)
        return self._day

    def _derive(self, day: int) -> _Day:
        random = self._streams.of_day("web", day)
        orders = self._orders.placed(day)
        share = np.array([funnel.session_share for funnel in self._funnels])
        conversion = np.array([funnel.conversion for funnel in self._funnels])
        bought_share = np.cumsum(share * conversion) / (share * conversion).sum()
        device = np.searchsorted(bought_share, random.random(len(orders)), side="right")
        device = np.minimum(device, len(self._funnels) - 1)
        bought = np.bincount(device, minlength=len(self._funnels))
        # As many sessions end without a purchase as the funnel says there are to those that end with one.
        left = random.poisson(bought * (1 - conversion) / conversion)
        left_after = random.multinomial(left, [_left_after(funnel.steps) for funnel in self._funnels])
        rate = self._behaviour.sampling_rate
        sampled_left = random.binomial(left_after, rate)
        buying = np.flatnonzero(random.random(len(orders)) < rate)
        sampled_bought = np.bincount(device[buying], minlength=len(self._funnels))
        parts = [
            self._browsing(random, day, sampled_left, int(left.sum())),
            self._buying(random, day, buying, device[buying]),
        ]
        names = _Sessions.__dataclass_fields__
        sessions = _Sessions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        start = sessions.anchor - (sessions.order != _NONE) * (sessions.gap * (sessions.events - 1))
        sessions = sessions.take(np.argsort(start, kind="stable"))
        return _Day(
            day,
            sessions,
            self._viewed(random, day, sessions),
            np.column_stack([left_after, bought]),
            np.column_stack([sampled_left, sampled_bought]),
        )

    def _browsing(
        self, random: np.random.Generator, day: int, left_after: NDArray[np.int64], all_sessions: int
    ) -> _Sessions:
        """The sessions that end without a purchase: so many by device (row) and last step."""
        count = int(left_after.sum())
        steps = left_after.shape[1]
        device, step = np.divmod(np.repeat(np.arange(left_after.size), left_after.ravel()), steps)
        # The visitors whom the sources bring, less those who buy at once, are among these sessions.
        brought = self._marketing.reach(day).clicks.astype(np.float64)
        new = self._orders.placed(day)["customer"]
        new = new[new >= self._customers.count(day - 1)]
        brought -= np.bincount(self._source_of(new, day), minlength=len(brought))
        brought = np.maximum(brought, 0.0) / max(all_sessions, 1)
        brought /= max(1.0, brought.sum())
        source = np.searchsorted(np.cumsum(brought), random.random(count), side="right")
        source = np.where(source == len(brought), _NONE, source)
        # The more recent a customer, the more likely a visit.
        known = self._customers.count(day - 1)
        visitor = known - 1 - (known * random.random(count) ** 2).astype(np.int64)
        is_known = (source == _NONE) & (random.random(count) < self._behaviour.known_share) & (visitor >= 0)
        views = (step >= 1) * (1 + random.poisson(_MORE_VIEWS, count))
        carts = np.minimum((step >= 2) * (1 + random.poisson(_MORE_CARTS, count)), views)
        pages = 1 + random.poisson(_MORE_PAGES, count)
        searches = (random.random(count) < self._behaviour.search_share).astype(np.int64)
        checkouts = (step >= 3).astype(np.int64)
        start = second_of_day(random.random(count)).astype(np.int64)
        later = np.maximum(pages + searches + views + carts + checkouts - 1, 1)
        gap = np.minimum(self._gaps(random, count), (DAY_SECONDS - 1 - start) / later)
        return _Sessions(
            device=device,
            order=np.full(count, _NONE),
            customer=np.where(is_known, visitor, _NONE),
            source=source,
            pages=pages,
            searches=searches,
            views=views,
            carts=carts,
            checkouts=checkouts,
            purchases=np.zeros(count, dtype=np.int64),
            anchor=start,
            gap=gap,
        )

    def _buying(
        self, random: np.random.Generator, day: int, order: NDArray[np.int64], device: NDArray[np.int64]
    ) -> _Sessions:
        """The sessions that end with these of the day's orders."""
        orders = self._orders.placed(day)[order]
        count = len(order)
        lines = np.bincount(self._orders.lines(day).number - 1, minlength=int(order.max(initial=0)) + 1)
        carts = lines[order]
        customer = orders["customer"]
        source = np.full(count, _NONE)
        is_new = customer >= self._customers.count(day - 1)
        source[is_new] = self._source_of(customer[is_new], day)
        views = carts + random.poisson(_MORE_VIEWS, count)
        pages = 1 + random.poisson(_MORE_PAGES, count)
        searches = (random.random(count) < self._behaviour.search_share).astype(np.int64)
        end = orders["created"].astype(np.int64)
        later = pages + searches + views + carts + 1
        gap = np.minimum(self._gaps(random, count), end / later)  # a session does not begin the day before
        return _Sessions(
            device=device,
            order=order,
            customer=np.where(customer == GUEST, _NONE, customer),
            source=source,
            pages=pages,
            searches=searches,
            views=views,
            carts=carts,
            checkouts=np.ones(count, dtype=np.int64),
            purchases=np.ones(count, dtype=np.int64),
            anchor=end,
            gap=gap,
        )

    def _source_of(self, customer: NDArray[np.int64], day: int) -> NDArray[np.int64]:
        """The source that brought customers who registered on the day."""
        return self._marketing.source_of(customer, np.full(len(customer), day))

    def _gaps(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        return _LEAST_GAP + random.exponential(_MORE_GAP, count)

    def _viewed(self, random: np.random.Generator, day: int, sessions: _Sessions) -> NDArray[np.int64]:
        """The products viewed, session by session; the last ones of a purchase are the order's lines."""
        offer, lines = self._catalogue.offer(day), self._orders.lines(day)
        choice = np.searchsorted(offer.popularity, random.random(int(sessions.views.sum())), side="right")
        viewed = offer.products.take(np.minimum(choice, len(offer.products) - 1))
        buying = np.flatnonzero(sessions.order != _NONE)
        carts = sessions.carts[buying]
        first = np.searchsorted(lines.number, sessions.order[buying] + 1)
        within = np.arange(int(carts.sum())) - np.repeat(np.cumsum(carts) - carts, carts)
        last = np.cumsum(sessions.views)[buying]
        viewed[np.repeat(last - carts, carts) + within] = lines.product[np.repeat(first, carts) + within]
        return viewed

    def _columns(self, day: _Day, part: slice, first_event: int) -> list[csv.Column]:
        """The cells of the events of some sessions; one column holds the cells that all events share."""
        sessions = day.sessions.take(part)
        counts = sessions.events
        rows = int(counts.sum())
        session = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
        # Where in the session the searches, the product pages, the checkout and the purchase begin.
        search_at = sessions.pages.take(session)
        view_at = search_at + sessions.searches.take(session)
        views = sessions.views.take(session)
        carts = sessions.carts.take(session)
        checkout_at = view_at + views + carts
        turn = within - view_at
        is_product = (turn >= 0) & (within < checkout_at)
        # Products that are only viewed come first; each of the others is viewed and then put into the cart.
        pair = turn - (views - carts)
        is_cart = is_product & (pair > 0) & (pair % 2 == 1)
        slot = np.where(pair > 0, views - carts + pair // 2, turn)
        kind = np.full(rows, _PAGE)
        kind[(within >= search_at) & (within < view_at)] = _SEARCH
        kind[is_product] = _VIEW
        kind[is_cart] = _CART
        kind[within >= checkout_at] = _CHECKOUT
        is_purchase = (within == checkout_at + 1) & (sessions.purchases.take(session) == 1)
        kind[is_purchase] = _PURCHASE
        first_slot = int(day.sessions.views[: part.start].sum())
        slot_start = first_slot + np.cumsum(sessions.views) - sessions.views
        product = np.full(rows, _NONE)
        product[is_product] = day.viewed[(slot_start.take(session) + slot)[is_product]]
        is_buying = sessions.order.take(session) != _NONE
        steps = np.where(is_buying, within - np.repeat(counts - 1, counts), within)
        second = sessions.anchor.take(session) + (steps * sessions.gap.take(session)).astype(np.int64)

        iso = self._days.date(day.number).isoformat().encode()
        date = iso.replace(b"-", b"")
        text = self._text
        number = np.arange(first_event + 1, first_event + rows + 1)
        is_first = within == 0
        source = sessions.source.take(session)
        referrer = np.where(is_first, source + 2, 0)
        # Pages of the site, searches, landing pages by source, then those of one address each.
        page = kind + (len(text.pages) - len(EVENT_TYPES))
        page = np.where(kind == _PAGE, (first_event + number) % len(_PAGES), page)
        page = np.where(kind == _SEARCH, len(_PAGES) + number % len(_QUERIES), page)
        page = np.where(is_first, len(_PAGES) + len(_QUERIES) + source + 1, page)
        product_text = _product_texts(self._catalogue.count(day.number)).take(product + 1)
        order_text = np.zeros(rows, dtype="S17")
        bought = sessions.order[sessions.order != _NONE]
        order_text[is_purchase] = csv.joined([b"O" + date + b"-", *csv.padded(bought + 1, 7)], len(bought))
        head, visitor, tail = self._shared(sessions, day.number, part.start, date)
        return [
            [b"EV" + date, *csv.padded(number, 9)],
            [head.take(session)],
            [text.types.take(kind)],
            [product_text],
            [iso + b" ", csv.time_of_day(second)],
            [visitor.take(session)],
            [text.referrers.take(referrer)],
            [text.pages.take(page), product_text, order_text],
            [tail.take(session)],
        ]

    def _shared(self, sessions: _Sessions, day: int, first: int, date: bytes) -> tuple[Text, Text, Text]:
        """What all events of a session share, ready as text: who and which session; browser and address;
        device, country and city."""
        count = len(sessions.device)
        number = np.arange(first + 1, first + count + 1)
        is_known = sessions.customer != _NONE
        known = sessions.customer[is_known]

        def draw(name: str) -> NDArray[np.uint64]:
            """Random bits that belong to the customer where there is one, else to the session."""
            bits = self._streams.lookup(f"web/{name} of session").bits(np.full(count, day), number)
            bits[is_known] = self._streams.lookup(f"web/{name}").bits(known)
            return bits >> np.uint64(11)

        identifier = csv.joined(customers.identifier(np.maximum(sessions.customer, 0)), count)
        head = csv.joined(
            [csv.blanked(identifier, is_known), b",S" + date + b"-", *csv.padded(number, 8)], count
        )
        agent = self._text.agent_starts.take(sessions.device)
        agent = agent + draw("agent").astype(np.int64) % self._text.agent_counts.take(sessions.device)
        visitor = csv.joined([self._text.agents.take(agent), b",", _addresses(draw("address"))], count)
        locale = LOCALE_MIX.take((draw("country") % np.uint64(len(LOCALE_MIX))).astype(np.int64)).astype(
            np.int64
        )
        place = self._pools.places.pick(locale, draw("place").astype(np.float64) / (1 << 53))
        place[is_known] = self._customers.place(known, day, self._pools)
        has_city = (draw("city") % np.uint64(1000)) >= 1000 * self._behaviour.city_unknown_share
        tail = csv.joined(
            [
                self._text.devices.take(sessions.device),
                b",",
                self._pools.country.take(place),
                b",",
                csv.blanked(self._pools.city.take(place), has_city),
            ],
            count,
        )
        return head, visitor, tail


@dataclass(frozen=True)
class _Text:
    """Ready-made cells to look up."""

    types: Text
    devices: Text
    agents: Text
    agent_starts: NDArray[np.int64]
    agent_counts: NDArray[np.int64]
    """By device: where its browsers start among `agents`, and how many they are."""
    referrers: Text
    """The shop itself; none; then by source."""
    pages: Text
    """_PAGES, searches, the landing page without a source, then by source, and last by type of event."""

    @staticmethod
    def make(sources: tuple[Source, ...], devices: list[str]) -> "_Text":
        agents = [USER_AGENTS[device] for device in devices]
        counts = np.array([len(names) for names in agents])
        return _Text(
            types=csv.table(EVENT_TYPES),
            devices=csv.table(devices),
            agents=csv.table(name for names in agents for name in names),
            agent_starts=np.cumsum(counts) - counts,
            agent_counts=counts,
            referrers=csv.table([SHOP_URL, "", *(source.referrer for source in sources)]),
            pages=csv.table(
                [
                    *(SHOP_URL + page for page in _PAGES),
                    *(f"{SHOP_URL}search?q={query}" for query in _QUERIES),
                    SHOP_URL,
                    *map(landing_page, sources),
                    SHOP_URL,
                    f"{SHOP_URL}search",
                    f"{SHOP_URL}products/",
                    f"{SHOP_URL}cart/add/",
                    f"{SHOP_URL}checkout",
                    f"{SHOP_URL}checkout/confirmation?order=",
                ]
            ),
        )


def landing_page(source: Source) -> str:
    """The first page of visitors a source brings: where someone pays, it says so."""
    if not source.is_paid:
        return SHOP_URL
    tags = {"source": source.utm_source, "medium": source.channel, "campaign": source.campaign}
    return f"{SHOP_URL}?" + "&".join(f"utm_{name}={value}" for name, value in tags.items())


def _left_after(steps: tuple[float, ...]) -> list[float]:
    """For each step but the purchase, the probability that a session without a purchase ends after it."""
    reached = np.concatenate([[1.0], np.cumprod(steps)])
    left = reached[:-1] - reached[1:]
    return [float(share) for share in left / left.sum()]


def _addresses(bits: NDArray[np.uint64]) -> Text:
    """IP addresses from the ranges kept for documentation (RFC 5737, RFC 3849)."""
    is_v6 = (bits % np.uint64(1000)) < 1000 * _IPV6_SHARE
    rest = bits // np.uint64(1000)
    groups = _hexadecimal()
    low = (rest % np.uint64(1 << 16)).astype(np.int64)
    high = (rest >> np.uint64(16)).astype(np.int64) % (1 << 16)
    v6 = csv.joined([b"2001:db8:", groups.take(high), b":", groups.take(low), b"::1"], len(bits))
    v4 = _documentation_addresses()
    return np.where(is_v6, v6, v4.take((rest % np.uint64(len(v4))).astype(np.int64)).astype(v6.dtype))


@cache
def _documentation_addresses() -> Text:
    return np.array(
        [f"{network}.{host}" for network in ("192.0.2", "198.51.100", "203.0.113") for host in range(1, 255)],
        dtype=np.bytes_,
    )


@cache
def _hexadecimal() -> Text:
    """Four hexadecimal digits, none of them a leading zero."""
    return np.array([f"{0x1000 + number % 0xF000:x}" for number in range(1 << 16)], dtype=np.bytes_)


@cache
def _product_texts(count: int) -> Text:
    """The identifiers of so many products, after an empty text for none."""
    texts = np.zeros(count + 1, dtype="S9")
    texts[1:] = csv.joined([b"P", *csv.padded(np.arange(1, count + 1), 8)], count)
    return texts
