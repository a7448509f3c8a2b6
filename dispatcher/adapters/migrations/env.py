"""Runs the revisions on the connection that was passed in; its owner begins and ends the transaction."""

from alembic import context

from dispatcher.adapters.sql_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
