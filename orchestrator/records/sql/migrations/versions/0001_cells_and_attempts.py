"""Experiments, their cells, and every attempt at one.

Tables are spelt out instead of taken from `schema`, which moves on with later revisions.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "experiments",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("claims_hash", sa.CHAR(64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("first_launched", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_experiments"),
    )
    op.create_table(
        "cells",
        sa.Column("id", sa.CHAR(64), nullable=False),
        sa.Column("loss", sa.String(), nullable=False),
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cells"),
    )
    _create_experiment_cells()
    _create_attempts()


def _create_experiment_cells() -> None:
    op.create_table(
        "experiment_cells",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("cell", sa.CHAR(64), nullable=False),
        sa.Column("loss", sa.String(), nullable=False),
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "cell", name="pk_experiment_cells"),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.name"], name="fk_experiment_cells_experiment_experiments"
        ),
        sa.ForeignKeyConstraint(["cell"], ["cells.id"], name="fk_experiment_cells_cell_cells"),
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cell", sa.CHAR(64), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("cell", "number", name="uq_attempts_cell_number"),
        sa.ForeignKeyConstraint(["cell"], ["cells.id"], name="fk_attempts_cell_cells"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_attempts_experiment_experiments"),
    )
    op.create_index("ix_attempts_outcome_experiment", "attempts", ["outcome", "experiment"])


def downgrade() -> None:
    """Back to an empty database."""
    for table in ("attempts", "experiment_cells", "cells", "experiments"):
        op.drop_table(table)
