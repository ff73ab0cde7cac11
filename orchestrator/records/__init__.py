"""Where outcomes are kept: Parquet files (the truth), a SQL registry (its index) and MLflow (a window)."""
