"""From a lab's options to what cleaning is asked for."""

from cleaning.wants import Wants
from dispatcher.jobs import ScrapeOptions


def wants_of(options: ScrapeOptions) -> Wants:
    """Return what to derive of each page of a batch; how it changed is added page by page."""
    names = options.formats
    return Wants(
        html="html" in names,
        images="images" in names,
        links="links" in names and bool(options.include_tags or options.exclude_tags),
        whole_page=not options.only_main_content and bool({"markdown", "html", "changeTracking"} & {*names}),
        include=options.include_tags,
        exclude=options.exclude_tags,
        keep_inline_images=not options.remove_base64_images and bool({"markdown", "html", "images"} & {*names}),
        attributes=options.attributes,
        schema=options.json.schema if options.json is not None and options.json.prompt is None else None,
    )


def needs_model(options: ScrapeOptions) -> bool:
    """Tell whether a model has to be asked for a page's values or summary."""
    return "summary" in options.formats or (options.json is not None and options.json.prompt is not None)


def is_shared(options: ScrapeOptions) -> bool:
    """Tell whether a document made with these options may be given to another team as it is: it holds nothing that a
    model made, and nothing about a team's earlier versions."""
    return options.tracking is None and not needs_model(options)
