"""What a lab wants of a page besides its main content. The default asks for nothing more."""

import msgspec


class AttributeWant(msgspec.Struct, frozen=True):
    """The values of one attribute of the elements that a CSS selector finds."""

    selector: str
    attribute: str


class Earlier(msgspec.Struct, frozen=True):
    """An earlier version of the page to tell changes against.

    `markdown` is in the same scope as what the page is asked for now, `values` the JSON text of what matched the same
    schema. `seen_at` is when it was fetched, RFC 3339. `markdown` is None where the earlier page is no longer kept;
    `is_same_body` tells whether its bytes were the same.
    """

    seen_at: str
    markdown: str | None = None
    values: str | None = None
    is_same_body: bool = False


class Tracking(msgspec.Struct, frozen=True):
    """How changes are told: `diff` line by line, `values` by what matches the JSON Schema text `schema`.

    `earlier` is None for a page that was never seen before; `is_gone` where the site says the page is there no more.
    """

    diff: bool = False
    values: bool = False
    schema: str | None = None
    earlier: Earlier | None = None
    is_gone: bool = False


class Wants(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to derive of a page.

    `whole_page` asks for markdown and html of all that a page shows, not only of its main content. `include` and
    `exclude` are CSS selectors: what is kept, and what is taken away from that. `schema` is the text of a JSON Schema.
    """

    html: bool = False
    images: bool = False
    links: bool = False
    whole_page: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep_inline_images: bool = False
    attributes: tuple[AttributeWant, ...] = ()
    schema: str | None = None
    tracking: Tracking | None = None

    @property
    def has_scope(self) -> bool:
        """Whether markdown is of something else than the main content."""
        return self.whole_page or bool(self.include or self.exclude)


NOTHING_MORE = Wants()
