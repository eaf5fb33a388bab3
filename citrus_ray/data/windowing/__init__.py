"""From recordings to what a network gets: segments, alignment, scale, splits, cache."""
