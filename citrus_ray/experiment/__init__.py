"""What is asked: trials, sweeps, search spaces, budgets, hypotheses, and the dry run of all of
it."""
