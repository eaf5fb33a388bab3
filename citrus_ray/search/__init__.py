"""What to try next in each cell: studies, racing, Optuna. No Ray."""
