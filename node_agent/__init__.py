"""The program of a person who lends bandwidth: it does what its owner allows, and nothing else.

The package root is pure; `adapters/` holds the sockets, files and the database; `cli.py` is the command `meadow-node`.
Of Meadow's own packages only `protocol` is imported.
"""

VERSION = "0.1.0"
