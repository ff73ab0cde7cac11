"""What happened, told for people; and what was left, and where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From a registry that tells of the present only."""
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("experiment", sa.String(), nullable=True),
        sa.Column("cell", sa.CHAR(64), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_events_experiment_experiments"),
        sa.ForeignKeyConstraint(["cell"], ["cells.id"], name="fk_events_cell_cells"),
    )
    op.create_index("ix_events_experiment_id", "events", ["experiment", "id"])
    op.create_table(
        "artefacts",
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cell", sa.CHAR(64), nullable=True),
        sa.Column("experiment", sa.String(), nullable=True),
        sa.Column("sha256", sa.CHAR(64), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("uri", name="pk_artefacts"),
        sa.ForeignKeyConstraint(["cell"], ["cells.id"], name="fk_artefacts_cell_cells"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_artefacts_experiment_experiments"),
    )
    for column in ("cell", "experiment"):
        op.create_index(f"ix_artefacts_{column}", "artefacts", [column])


def downgrade() -> None:
    """Back to revision 0002."""
    op.drop_table("artefacts")
    op.drop_table("events")
