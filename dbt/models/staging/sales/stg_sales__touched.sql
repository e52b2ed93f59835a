{#- What was given back on a day is a document of its own. -#}
{{ touched_by_lines(
    'sales',
    'sales',
    columns={'order_id': none, 'customer_id': none, 'sale_date': 'date'},
    keys=[
        ('orders', 'order_id'),
        ('orders', sales_refund_id('order_id', 'sale_date')),
        ('customers', "nullif(btrim(customer_id), '')"),
    ],
) }}
