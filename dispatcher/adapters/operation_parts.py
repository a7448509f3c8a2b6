"""What operations of the HTTP API have in common."""

from typing import Annotated, Final

from msgspec import Meta

from dispatcher.openapi import Parameter

Position = Annotated[int, Meta(ge=0, le=2**31 - 1)]
UpToHundred = Annotated[int, Meta(ge=1, le=100)]
IDEMPOTENCY: Final = Parameter(
    name="x-idempotency-key",
    place="header",
    type=Annotated[str, Meta(min_length=1, max_length=255, pattern="^[!-~]+$")],
    words="Answers a repeat of this request as the first one; with another body it is refused.",
)
DOCUMENTS: Final = (
    Parameter(name="skip", type=Position, words="The position of the first document."),
    Parameter(name="limit", type=UpToHundred, words="How many documents at most."),
)


def list_page(name: str, limit: int, words: str) -> tuple[Parameter, ...]:
    """The parameters of a list that is read page by page."""
    most = Parameter(name="limit", type=Annotated[int, Meta(ge=1, le=limit)], words="How many at most.")
    return (Parameter(name=name, words=words), most)
