{{ touched_by_lines(
    'online_retail',
    'lines',
    columns={'invoice_no': none, 'stock_code': none, 'customer_id': none},
    keys=[
        ('orders', 'invoice_no'),
        ('products', 'stock_code'),
        ('customers', "nullif(split_part(customer_id, '.', 1), '')"),
    ],
) }}
