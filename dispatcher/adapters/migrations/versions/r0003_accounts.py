"""Labs' accounts: scopes and limits of keys, prepaid credits, usage, the audit log."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nothing yet."""
