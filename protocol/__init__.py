"""The bytes everyone agrees on: messages, jobs, records, dataset rows, URL and address rules.

`PROTOCOL.md` in this folder is normative; the structs here are its one schema. Everything at the package root is
pure: no socket, no clock, no database. Nothing of Meadow's other packages is imported.
"""

PROTOCOL_VERSION = 1
