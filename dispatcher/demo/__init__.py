"""The demonstration: a bundled site, and the run that scrapes it through the whole network."""
