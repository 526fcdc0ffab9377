"""Report metrics that need weights, or graphs, which a user has on disk; one file per metric."""
