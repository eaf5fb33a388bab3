"""Pre-training losses. They take plain sizes and know no spec."""
