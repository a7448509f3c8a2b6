"""The ledger's tables of webhooks, their deliveries, and schedules."""

from dispatcher.adapters.sql_schema import metadata

__all__ = ["metadata"]
