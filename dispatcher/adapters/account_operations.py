"""The operations of a team's account and its keys."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from dispatcher import account_views as accounts
from dispatcher import api_bodies as bodies
from dispatcher.adapters.lab_keys_api import KeyAnswer, KeyList, KeyMade
from dispatcher.adapters.operation_parts import IDEMPOTENCY, UpToHundred, list_page
from dispatcher.estimate import EstimateAnswer
from dispatcher.openapi import Operation, Parameter

_DAY = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
TEAM: Final = (
    Operation(
        name="estimate",
        method="post",
        path="/v1/estimate",
        tag="Account",
        words="What a request may cost, before it is made.",
        body=bodies.EstimateBody,
        answer=EstimateAnswer,
        errors=(403,),
    ),
    Operation(
        name="readConcurrency",
        method="get",
        path="/v2/concurrency-check",
        tag="Account",
        words="Pages that were let out and have not ended, and the most there may be.",
        answer=accounts.ConcurrencyAnswer,
        errors=(403,),
    ),
    Operation(
        name="readCredits",
        method="get",
        path="/v2/team/credit-usage",
        tag="Account",
        words="The team's credits.",
        answer=accounts.CreditUsageAnswer,
        errors=(403,),
    ),
    Operation(
        name="readCreditHistory",
        method="get",
        path="/v2/team/credit-usage/historical",
        tag="Account",
        words="Credits used, month by month.",
        answer=accounts.CreditHistory,
        parameters=(Parameter(name="byApiKey", type=Literal["true", "false"], words="A line for each key."),),
        errors=(400, 403),
    ),
    Operation(
        name="readTokens",
        method="get",
        path="/v2/team/token-usage",
        tag="Account",
        words="There are no tokens of models here; clients ask all the same.",
        answer=accounts.TokenUsageAnswer,
        errors=(403,),
    ),
    Operation(
        name="readTokenHistory",
        method="get",
        path="/v2/team/token-usage/historical",
        tag="Account",
        words="No tokens were ever used.",
        answer=accounts.TokenHistory,
        errors=(400, 403),
    ),
    Operation(
        name="readQueue",
        method="get",
        path="/v2/team/queue-status",
        tag="Account",
        words="Pages of the team that wait or are being read.",
        answer=accounts.QueueStatus,
        errors=(403,),
    ),
    Operation(
        name="readUsage",
        method="get",
        path="/v1/usage",
        tag="Account",
        words="What was read, by day, host or key.",
        answer=accounts.UsageAnswer,
        parameters=(
            Parameter(name="from", type=_DAY, words="The first day, in UTC."),
            Parameter(name="to", type=_DAY, words="The last day, in UTC."),
            Parameter(name="by", type=Literal["day", "host", "key"]),
        ),
        errors=(400, 403),
    ),
    Operation(
        name="listCredits",
        method="get",
        path="/v1/credits",
        tag="Account",
        words="Every entry of the team's account, the newest first.",
        answer=accounts.EntryList,
        parameters=(
            Parameter(name="before", type=Annotated[int, Meta(ge=1)], words="Entries before this one."),
            Parameter(name="limit", type=UpToHundred),
        ),
        errors=(400, 403),
    ),
    Operation(
        name="readAuditLog",
        method="get",
        path="/v1/audit-log",
        tag="Account",
        words="Who did what, when and with which key, the newest first.",
        answer=accounts.ActionList,
        parameters=list_page("before", 100, "Entries before the one of this id."),
        errors=(400, 403),
    ),
    Operation(
        name="makeKey",
        method="post",
        path="/v1/keys",
        tag="Keys",
        words="Make a key. It is shown once.",
        body=bodies.KeyBody,
        answer=KeyMade,
        parameters=(IDEMPOTENCY,),
        errors=(403, 409, 507),
    ),
    Operation(
        name="listKeys",
        method="get",
        path="/v1/keys",
        tag="Keys",
        words="The team's keys.",
        answer=KeyList,
        parameters=list_page("after", 100, "Keys after the one of this id."),
        errors=(400, 403),
    ),
    Operation(
        name="readKey",
        method="get",
        path="/v1/keys/{id}",
        tag="Keys",
        words="A key, without its secret.",
        answer=KeyAnswer,
        errors=(403, 404),
    ),
    Operation(
        name="revokeKey",
        method="delete",
        path="/v1/keys/{id}",
        tag="Keys",
        words="Revoke a key.",
        answer=KeyAnswer,
        errors=(403, 404, 409, 507),
    ),
    Operation(
        name="rotateKey",
        method="post",
        path="/v1/keys/{id}/rotate",
        tag="Keys",
        words="Make a key in the place of this one, which lives on for a while.",
        body=bodies.RotationBody,
        answer=KeyMade,
        parameters=(IDEMPOTENCY,),
        errors=(403, 404, 409, 507),
    ),
)
