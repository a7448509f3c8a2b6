"""Crawls: what they found and have yet to visit, and pages added to a batch."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing yet."""
