"""What to try next in each cell: studies, designs, racing, Optuna. No Ray."""
