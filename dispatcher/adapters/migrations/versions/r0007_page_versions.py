"""Earlier versions of pages, which answers come from and changes are told against."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing yet."""
