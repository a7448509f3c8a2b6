"""The ledger's tables of earlier versions of pages."""

from dispatcher.adapters.sql_schema import metadata

__all__ = ["metadata"]
