"""Where this package meets the world: one file per technology."""
