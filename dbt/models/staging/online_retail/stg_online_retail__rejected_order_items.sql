{{ rejected_order_items('online_retail', 'lines', 'invoice_no') }}
