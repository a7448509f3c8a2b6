"""The ledger's tables of crawls: what they found and have yet to visit."""

from dispatcher.adapters.sql_schema import metadata

__all__ = ["metadata"]
