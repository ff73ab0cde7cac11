"""Room for the ids of replicas: of a cell, with the environment behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = (
    ("cells", "id"),
    ("experiment_cells", "cell"),
    ("attempts", "cell"),
    ("events", "cell"),
    ("artefacts", "cell"),
)


def upgrade() -> None:
    """From ids of 64 digits."""
    _alter(sa.CHAR(64), sa.String(80))


def downgrade() -> None:
    """Back to revision 0003."""
    _alter(sa.String(80), sa.CHAR(64))


def _alter(before: sa.types.TypeEngine[str], after: sa.types.TypeEngine[str]) -> None:
    # SQLite minds no length, and cannot alter a column without rebuilding the table and whatever refers to it.
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, column in COLUMNS:
        op.alter_column(table, column, existing_type=before, type_=after)
