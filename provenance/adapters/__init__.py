"""The outside world of the provenance room: Solana, SQLite, HTTP."""
