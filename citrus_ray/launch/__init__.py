"""Everything that imports Ray: clusters, pre-training through Ray Train, the search through Ray Tune and Optuna."""
