{{ rejected_order_items('sales', 'sales', 'order_id') }}
