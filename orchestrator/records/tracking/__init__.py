"""MLflow, a window on the results: one run per cell."""
