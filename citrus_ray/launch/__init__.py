"""Everything that imports Ray: clusters, pre-training by Ray Train, search by Ray Tune."""
