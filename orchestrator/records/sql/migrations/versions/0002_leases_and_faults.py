"""Leases of launches; whose an attempt is, when it was heard of, how far it is, and which fault ended it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADDED = ("owner", "seen", "progress", "fault")


def upgrade() -> None:
    """From attempts that belong to nobody."""
    op.create_table(
        "leases",
        sa.Column("owner", sa.CHAR(32), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_leases"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_leases_experiment_experiments"),
    )
    kinds = (sa.CHAR(32), sa.DateTime(timezone=True), sa.Integer(), sa.String())
    for name, kind in zip(_ADDED, kinds, strict=True):
        op.add_column("attempts", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Back to revision 0001."""
    for name in reversed(_ADDED):
        op.drop_column("attempts", name)
    op.drop_table("leases")
