"""The ledger's tables of datasets: where they come from, their versions and their builds."""

from dispatcher.adapters.sql_schema import metadata

__all__ = ["metadata"]
