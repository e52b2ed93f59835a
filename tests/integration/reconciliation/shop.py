"""Files of two shops with every kind of difference between two layers, and what it is worth."""

from __future__ import annotations

from decimal import Decimal

_HEADERS = {
    "customers": "customer_id,first_name,city,registration_date,updated_at",
    "products": "product_id,product_name,price,cost,created_date,is_active,updated_at",
    "orders": "order_id,customer_id,order_date,order_status,shipping_cost,tax_amount,total_amount,currency,"
    "created_at,updated_at",
    "order_items": "order_item_id,order_id,product_id,quantity,unit_price,discount_amount,line_total,"
    "created_at",
    "payments": "payment_id,order_id,paid_at,method,amount,status",
    "returns": "return_id,order_item_id,returned_at,quantity,reason,refund_amount",
    "marketing_spend": "spend_date,channel,campaign,impressions,clicks,spend",
}
_LINES = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def _file(entity: str, *records: str) -> str:
    return "\n".join([_HEADERS[entity], *records]) + "\n"


def _path(entity: str, day: int, part: str = "") -> tuple[str, str]:
    return "ecommerce", f"{entity}/dt=2026-03-0{day}/{entity}{part}.csv"


def _order(
    key: str, customer: str, total: str, *, day: int = 2, status: str = "shipped", updated: int = 2
) -> str:
    return (
        f"{key},{customer},2026-03-0{day},{status},5,2,{total},USD,2026-03-0{day} 12:00:00,"
        f"2026-03-0{updated} 12:00:00"
    )


def _item(
    key: str,
    order: str,
    quantity: str = "2",
    price: str = "10",
    discount: str = "0",
    total: str = "20",
    day: int = 2,
) -> str:
    return f"{key},{order},P1,{quantity},{price},{discount},{total},2026-03-0{day} 12:00:00"


def _payment(number: int, amount: str, status: str = "captured") -> str:
    return f"PM{number},O1,2026-03-02 13:00:00,paypal,{amount},{status}"


#: More rows than the contract lets fail, of a status that nobody knows, 1.50 each.
_BAD_PAYMENTS = [_payment(number, "1.50", "lost") for number in range(100, 112)]

FIRST = {
    _path("customers", 2): _file(
        "customers",
        "C1,Ada,Oslo,2026-01-01,2026-03-01 00:00:00",
        "C2,Bob,Rome,2026-01-01,2026-03-01 00:00:00",
    ),
    _path("products", 2): _file("products", "P1,Mug,10,4,2026-01-01,true,2026-03-01 00:00:00"),
    _path("orders", 2): _file(
        "orders",
        _order("O1", "C1", "55.50"),  # 48.50 of goods
        _order("O2", "C2", "27"),
        _order("O3", "", "27"),  # a guest's
        _order("O4", "C1", "37"),  # says 10 too much
        _order("O5", "C1", "12"),  # without items, 5 too much
        _order("O6", "C2", "67"),  # loses 40 to rejections
        _order("O7", "C1", "28"),  # of a line whose total is 1 too much
        _order("O8", "C9", "27"),  # of a customer nobody delivered
    ),
    _path("order_items", 2): _file(
        "order_items",
        _item("I1", "O1"),
        _item("I2", "O1", "3", "10", "1", "29"),  # stands again
        _item("I2", "O1", "3", "10", "1.50", "28.50"),
        _item("I3", "O2"),
        _item("I4", "O3"),
        _item("I5", "O4"),
        _item("I6", "O6"),
        _item("I7", "O6", "0", "10", "0", "20"),  # no quantity: rejected
        _item("I8", "O6", "many", "10", "0", "twenty"),  # rejected, and nobody knows what it is worth
        _item("I9", "O7", "2", "10", "0", "21"),
        _item("I10", "O99", "1", "7", "0", "7"),  # waits for its order
        _item("I11", "O8", "0", "10", "0", "20"),  # rejected, delivered again in a part
    ),
    _path("payments", 2): _file("payments", _payment(1, "55.50"), _payment(2, "27")),
    _path("marketing_spend", 2): _file(
        "marketing_spend", "2026-03-02,email,spring,100,10,12.25", "2026-03-02,social,spring,50,5,3"
    ),
    ("online_retail", "2010-12-01.csv"): "\n".join(
        [
            _LINES,
            "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,France",
            "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,France",  # a line of its own
            "536365,POST,POSTAGE,1,2010-12-01 08:26:00,18,17850.0,France",
            "536366,22139,SET,56,2010-12-01 09:00:00,0,,France",
            "C536379,85123A,HOLDER,-2,2010-12-01 10:00:00,2.55,17850.0,France",
            "C536379,D,Discount,-1,2010-12-01 10:00:00,27.50,17850.0,France",
            "536367,85123A,HOLDER,some,2010-12-01 11:00:00,2.55,17850.0,France",
        ]
    )
    + "\n",
}

SECOND = {
    # equal to the version before; and of the same moment as another one, which it replaces
    _path("customers", 3): _file(
        "customers",
        "C1,Ada,Oslo,2026-01-01,2026-03-03 00:00:00",
        "C2,Bob,Pisa,2026-01-01,2026-03-01 00:00:00",
    ),
    _path("orders", 3): _file(
        "orders",
        _order("O1", "C1", "57.50", updated=3),  # I1 became 22
        _order("O2", "C2", "27", status="cancelled", updated=3),
    ),
    _path("order_items", 3): _file("order_items", _item("I1", "O1", "2", "11", "0", "22", day=3)),
    _path("order_items", 2, ".fix-001"): _file("order_items", _item("I11", "O8")),
    _path("returns", 3): _file("returns", "RT1,I1,2026-03-03 12:00:00,1,defective,4"),
    _path("returns", 4): _file(
        "returns",
        "RT1,I1,2026-03-03 12:00:00,1,defective,5",  # replaces the one before
        "RT2,I3,2026-03-04 12:00:00,2,changed_mind,20",  # of a cancelled order
        "RT3,I10,2026-03-04 12:00:00,1,changed_mind,7",  # waits with its item
    ),
    _path("payments", 2): _file("payments", *_BAD_PAYMENTS),  # refused: the version before stays
    _path("payments", 3): _file("payments", *_BAD_PAYMENTS),  # refused
    _path("payments", 4): _file("payments", *_BAD_PAYMENTS),  # refused, and discarded
}

#: (source, entity, later layer's object, measure, difference) → its value and its rows, over all days.
DIFFERENCES: dict[tuple[str, str, str, str, str], tuple[Decimal, int]] = {
    (source, entity, target, measure, name): (Decimal(value), rows)
    for source, entity, target, name, measures in [
        # file → raw
        ("ecommerce", "order_items", "raw.ecommerce__order_items", "rejected",
            {"rows": ("-2", 2), "gross": ("0", 1), "discounts": ("0", 2), "total": ("-20", 1)}),
        ("ecommerce", "order_items", "raw.ecommerce__order_items", "rejected_unreadable",
            {"gross": ("0", 1), "total": ("0", 1)}),
        ("ecommerce", "order_items", "raw.ecommerce__order_items", "repeated_key",
            {"rows": ("-1", 1), "gross": ("-30", 1), "discounts": ("-1", 1), "total": ("-29", 1)}),
        ("ecommerce", "order_items", "raw.ecommerce__order_items", "rejected_and_settled",
            {"rows": ("-1", 1), "gross": ("0", 1), "discounts": ("0", 1), "total": ("-20", 1)}),
        ("ecommerce", "payments", "raw.ecommerce__payments", "refused_file",
            {"rows": ("-24", 24), "amount": ("0", 24)}),
        ("ecommerce", "payments", "raw.ecommerce__payments", "discarded_file",
            {"rows": ("-12", 12), "amount": ("0", 12)}),
        ("ecommerce", "payments", "raw.ecommerce__payments", "earlier_version_kept",
            {"rows": ("2", 2), "amount": ("82.50", 2)}),
        ("ecommerce", "marketing_spend", "raw.ecommerce__marketing_spend", "withdrawn_file",
            {"rows": ("-2", 2), "spend": ("0", 2)}),
        ("online_retail", "lines", "raw.online_retail__lines", "rejected", {"rows": ("-1", 1)}),
        ("online_retail", "lines", "raw.online_retail__lines", "rejected_unreadable",
            {"gross": ("0", 1), "total": ("0", 1)}),
        # raw → staging: six lines
        ("online_retail", "orders", "staging.stg_orders", "merged_lines", {"rows": ("-3", 3)}),
        ("online_retail", "customers", "staging.stg_customers", "merged_lines", {"rows": ("-5", 5)}),
        ("online_retail", "products", "staging.stg_products", "merged_lines", {"rows": ("-2", 2)}),
        # staging → warehouse
        ("ecommerce", "orders", "warehouse.fact_orders", "superseded_version",
            {"rows": ("-2", 2), "shipping": ("-10", 2), "tax": ("-4", 2), "total": ("-82.50", 2)}),
        ("ecommerce", "order_items", "warehouse.fact_order_items", "superseded_version",
            {"rows": ("-1", 1), "gross": ("-20", 1), "discounts": ("0", 1), "total": ("-20", 1)}),
        ("ecommerce", "order_items", "warehouse.fact_order_items", "orphan_item_waiting",
            {"rows": ("-1", 1), "gross": ("-7", 1), "discounts": ("0", 1), "total": ("-7", 1)}),
        ("ecommerce", "returns", "warehouse.fact_returns", "superseded_version",
            {"rows": ("-1", 1), "refunds": ("-4", 1)}),
        ("ecommerce", "returns", "warehouse.fact_returns", "orphan_return_waiting",
            {"rows": ("-1", 1), "refunds": ("-7", 1)}),
        ("ecommerce", "customers", "warehouse.dim_customers", "superseded_version", {"rows": ("-1", 1)}),
        ("ecommerce", "customers", "warehouse.dim_customers", "unchanged_version", {"rows": ("-1", 1)}),
        ("ecommerce", "customers", "warehouse.dim_customers", "inferred_member", {"rows": ("1", 1)}),
        ("online_retail", "order_items", "warehouse.fact_order_items", "cancellation_line",
            {"gross": ("5.10", 1)}),
        ("online_retail", "order_items", "warehouse.fact_order_items", "fee", {"gross": ("-18", 1)}),
        ("online_retail", "order_items", "warehouse.fact_order_items", "adjustment", {"gross": ("27.50", 1)}),
        # warehouse → marts
        ("ecommerce", "order_items", "marts_build.sales_summary", "line_total_mismatch", {"net": ("-1", 1)}),
        ("ecommerce", "order_items", "marts_build.sales_summary", "cancelled", {"net": ("-20", 1)}),
        ("ecommerce", "returns", "marts_build.sales_summary", "return_of_cancelled_order",
            {"units": ("-2", 1), "refunds": ("-20", 1)}),
        ("ecommerce", "orders", "marts_build.sales_summary", "order_total_mismatch", {"total": ("-10", 1)}),
        ("ecommerce", "orders", "marts_build.sales_summary", "order_without_items", {"total": ("-5", 1)}),
        ("ecommerce", "orders", "marts_build.sales_summary", "incomplete_order", {"total": ("-40", 1)}),
        ("ecommerce", "orders", "marts_build.sales_summary", "line_total_mismatch", {"total": ("-1", 1)}),
        ("ecommerce", "orders", "marts_build.sales_summary", "cancelled", {"total": ("-20", 1)}),
        ("ecommerce", "customers", "marts_build.customer_summary", "guest",
            {"orders": ("-1", 1), "net": ("-20", 1)}),
        ("online_retail", "order_items", "marts_build.sales_summary", "fee", {"net": ("-18", 1)}),
        ("online_retail", "order_items", "marts_build.sales_summary", "adjustment", {"net": ("27.50", 1)}),
        ("online_retail", "orders", "marts_build.sales_summary", "cancellation_document",
            {"rows": ("-1", 1)}),
        ("online_retail", "orders", "marts_build.sales_summary", "fee", {"total": ("-18", 1)}),
        ("online_retail", "orders", "marts_build.sales_summary", "adjustment", {"total": ("27.50", 1)}),
        ("online_retail", "customers", "marts_build.customer_summary", "guest",
            {"orders": ("-1", 1), "net": ("0", 1)}),
    ]
    for measure, (value, rows) in measures.items()
}  # fmt: skip

#: What the landed files say, where the ledger alone cannot know.
ONLY_FILES_KNOW = {
    ("ecommerce", "payments", "raw.ecommerce__payments", "amount", "refused_file"): (Decimal("-36"), 24),
    ("ecommerce", "payments", "raw.ecommerce__payments", "amount", "discarded_file"): (Decimal("-18"), 12),
    ("ecommerce", "marketing_spend", "raw.ecommerce__marketing_spend", "spend", "withdrawn_file"): (
        Decimal("-15.25"),
        2,
    ),
}


def later_files() -> dict[tuple[str, str], str]:
    """A day after: a new order with its item, and another version of an order of the 2nd."""
    return {
        _path("orders", 5): _file(
            "orders",
            _order("O20", "C1", "27", day=5, updated=5),
            _order("O2", "C2", "27", status="cancelled", updated=5),
        ),
        _path("order_items", 5): _file("order_items", _item("I20", "O20", day=5)),
    }
