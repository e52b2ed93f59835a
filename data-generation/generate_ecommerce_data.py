#!/usr/bin/env python3
"""Generate a simulated shop's CSV files; see --help."""

from shop_simulator.cli import main

if __name__ == "__main__":
    main(prog_name="generate_ecommerce_data.py")
