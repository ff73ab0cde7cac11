"""Bring a registry's schema to the newest revision.

Revisions are numbered, so that "newer than known" is a comparison of strings.
Alembic is imported only where there is something to migrate: it takes longer to
import than a current registry takes to open.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from orchestrator.errors import WorkspaceError

HEAD = "0004"
"""The newest revision in `versions/`."""

_LOCK = 0x0CE115
"""Any number, the same in all drivers: PostgreSQL's advisory lock on migrating a registry."""


def bring_to_head(engine: Engine) -> None:
    """Migrate to `HEAD` in one transaction, unless the schema is there already.

    Args:
        engine: Where the registry is; with the execution option `writes`, its SQLite
            transactions lock out other writers from the start.

    Raises:
        WorkspaceError: The schema is newer than this version of the orchestrator.
    """
    with engine.connect() as connection:
        if _is_current(connection):
            return
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Another driver may have migrated while this one waited for the lock.
        if not _is_current(connection):
            _upgrade(connection)


def _is_current(connection: Connection) -> bool:
    revision = revision_of(connection)
    if revision is not None and revision > HEAD:
        registry = connection.engine.url.set(query={}).render_as_string(hide_password=True)
        raise WorkspaceError(
            f"The registry {registry} has schema {revision}, newer than {HEAD}, the newest this version "
            "knows: upgrade the orchestrator, or name another registry."
        )
    return revision == HEAD


def revision_of(connection: Connection) -> str | None:
    """The revision of the schema that is there, or None where there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # Package and folder instead of a path: a path with a % in it would be taken for an interpolation.
    config.set_main_option("script_location", "orchestrator.records.sql:migrations")
    config.set_main_option("path_separator", "os")
    command.upgrade(config, HEAD)
