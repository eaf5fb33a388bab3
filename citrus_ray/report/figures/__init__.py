"""Drawings: numbers in, a matplotlib figure out."""
