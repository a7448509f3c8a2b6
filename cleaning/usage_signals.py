"""What a page's markup says of its own use, as a document keeps it."""

import msgspec


class LicenseLink(msgspec.Struct, frozen=True):
    """A link with `rel=license`: absolute http(s) address, and the type it declares, lower case, empty for none."""

    url: str
    type: str = ""


class UsageSignals(msgspec.Struct, frozen=True):
    """What the markup says, as written, white space collapsed.

    `robots` holds (name, content) pairs of `meta` elements for all crawlers or for this one. `tdm_reservation` and
    `tdm_policy` are those of TDMRep (section "TDM Metadata in HTML Content"), the first of each.
    """

    robots: tuple[tuple[str, str], ...] = ()
    tdm_reservation: str | None = None
    tdm_policy: str | None = None
    licenses: tuple[LicenseLink, ...] = ()
