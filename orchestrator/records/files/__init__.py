"""Parquet files, the truth: cells' files, the results table, and what is built of them."""
