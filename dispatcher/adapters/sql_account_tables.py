"""The ledger's tables of labs' accounts: scopes and limits of keys, prepaid credits, usage, the audit log."""

from dispatcher.adapters.sql_schema import metadata

__all__ = ["metadata"]
