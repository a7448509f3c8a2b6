"""Every table of the ledger: `metadata` is whole once this module is imported."""

from dispatcher.adapters import (
    sql_account_tables,
    sql_crawl_tables,
    sql_dataset_tables,
    sql_page_tables,
    sql_schema,
    sql_webhook_tables,
)

PARTS = (sql_schema, sql_account_tables, sql_crawl_tables, sql_webhook_tables, sql_dataset_tables, sql_page_tables)
metadata = sql_schema.metadata
