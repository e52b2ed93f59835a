"""One module per command of `ecommerce-dw`; the function in it is `command`."""
