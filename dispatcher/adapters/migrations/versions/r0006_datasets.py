"""Datasets: where they come from, their versions and their builds."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing yet."""
