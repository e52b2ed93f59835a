{{ rejected_order_items('ecommerce', 'order_items', 'order_id') }}
