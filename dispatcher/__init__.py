"""Labs' jobs to willing nodes: API, queue, node gateway, ledger, trust, console."""

__version__ = "0.1.0"
