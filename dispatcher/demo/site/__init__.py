"""The bundled demonstration site: an invented valley town and its newspaper, library, club, shop, docs and forum."""
