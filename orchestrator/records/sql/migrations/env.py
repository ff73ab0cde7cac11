"""Alembic's entry: run the revisions on the connection, and in the transaction, of the caller."""

from __future__ import annotations

from alembic import context

from orchestrator.records.sql.schema import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
