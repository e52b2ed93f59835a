"""The unit of a column, which its name and type tell: the project's names follow one convention."""

from __future__ import annotations

import re

MONEY = "money"

#: Pattern that a number's whole name matches → its unit. The first one that matches counts.
_NUMBERS = (
    (r"value(_from|_to)?|difference|(un)?explained", "as the row says"),
    (r"(.*_)?(amount|price|cost|value|spend|line_total)(_before|_after)?", MONEY),
    (r"cost_per_.*|(cumulative_)?net_per_customer", MONEY),
    (r"(.*_amount|revenue)_per_day(_before|_after)?", "money a day"),
    (r".*_count_per_day", "count a day"),
    (r"units_per_day(_before|_after)?|daily_demand", "units a day"),
    (r".*_(share|rate)", "share, 0 to 1"),
    (r".*_share_before", "share, 0 to 1"),
    (r".*_ratio|return_on_investment", "ratio, 1 = 100 %"),
    (r".*_index", "ratio, 1 = the average"),
    (r"churn_risk", "probability, 0 to 1"),
    (r"support|confidence", "share, 0 to 1"),
    (r"(.*_)?lift", "ratio, 1 = by chance"),
    (r"annual_turnover", "times a year"),
    (r"(adjusted_)?elasticity(_error)?", "% of units per % of price"),
    (r"(.*_)?days(_.*)?", "days"),
    (r"(.*_)?seconds", "seconds"),
    (r"(.*_)?bytes", "bytes"),
    (r"months_.*|.*_months", "months"),
    (r".*_points|(.*_)?health_score", "points, 0 to 100"),
    (r"weight", "kilograms"),
    (r"(.*_)?score", "rank, 1 (least) to 5"),
    (r".*_rank|priority", "rank, 1 first"),
    (
        r"(rows|impressions|clicks|failures|mismatches|frequency)(_.*)?|.*_count(_before|_after)?|(.*_)?cohort_size",
        "count",
    ),
    (r"(.*_)?quantity|on_hand|received|sold", "units"),
    (r"(business_)?day_(of|number).*|(iso|fiscal|calendar)_.*|month_of_year", "number in the calendar"),
    (r"business_day_.*", "number in the calendar"),
    (r".*(_id|_seq|_number|_id_to)|version|measurement", ""),
)


def unit_of(name: str, type_name: str, said: str | None = None) -> str | None:
    """The unit of a column.

    Args:
        name: The column's.
        type_name: PostgreSQL's.
        said: What the column's `meta: {unit: …}` says; it wins.

    Returns:
        Empty where a unit has no meaning (text, keys, numbers of things); None when it cannot be told.
    """
    if said:
        return said
    base = re.sub(r"\(.*", "", type_name).strip()
    if base in ("timestamptz", "timestamp with time zone"):
        return "time, UTC"
    if base == "date":
        return "day"
    if base not in ("smallint", "integer", "bigint", "numeric", "real", "double precision"):
        return ""
    return next((unit for pattern, unit in _NUMBERS if re.fullmatch(pattern, name)), None)
