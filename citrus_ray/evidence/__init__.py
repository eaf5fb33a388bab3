"""What the records say, decided once: winners, pairs, intervals, gains, verdicts. Every surface
prints what stands here."""
