"""Networks. They take plain sizes and know no spec."""
