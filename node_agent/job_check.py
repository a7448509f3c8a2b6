"""Every check of one job before anything is fetched (PROTOCOL.md, sections 3, 6 and 10).

The dispatcher made most of these checks already. The node makes them again: it obeys its owner and the protocol's
rules, and takes nobody's word for either.
"""

import re
from dataclasses import dataclass

from node_agent.fetching import FetchOrder
from node_agent.owner_rules import Denial, Moment, OwnerRules, UsageToday, check_host, check_moment, check_purpose
from protocol import limits
from protocol.errors import BadSignature, Expired, NotForMe, WrongKind
from protocol.job import Certificate, Job, check_validity, open_job
from protocol.messages import RefusalCode, Refuse
from protocol.statements import Kind, Statement, decode_canonical
from protocol.urls import Refusal, TestSites, check_url

_LANGUAGES = re.compile(r"[A-Za-z0-9*,;=.\- ]{1,200}")


@dataclass(frozen=True, slots=True)
class AllowedJob:
    """A job that passed every check. `job_hash` is the digest of its statement, as the record names it."""

    job: Job
    job_hash: str
    order: FetchOrder


@dataclass(frozen=True, slots=True)
class RefusedJob:
    """A job that is not fetched. `job` is None where its signature does not hold: nothing in it can be believed."""

    answer: Refuse
    job: Job | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the node stands at the moment of a check."""

    rules: OwnerRules
    moment: Moment
    usage: UsageToday
    jobs_in_hand: int
    is_stopping: bool
    results_are_full: bool
    test_sites: TestSites


def check_job(
    statement: Statement, *, certificate: Certificate, node_key: str, standing: Standing
) -> AllowedJob | RefusedJob:
    """Check a job. MalformedMessage, NotCanonical or WrongKind where the bytes are no job at all."""
    now_ms = standing.moment.now_ms
    try:
        check_validity("job-key certificate", 0, certificate.not_after_ms, now_ms)
        job = open_job(statement, certificate=certificate, node_key=node_key, now_ms=now_ms)
    except BadSignature as error:
        return _refuse_unverified(statement, RefusalCode.BAD_SIGNATURE, str(error))
    except NotForMe as error:
        return _refuse_unverified(statement, RefusalCode.NOT_FOR_ME, str(error))
    except Expired as error:
        return _refuse_unverified(statement, RefusalCode.EXPIRED, str(error))
    checked = _check_content(job, standing)
    if isinstance(checked, Denial):
        answer = Refuse(job_id=job.job_id, lease=job.lease, reason=checked.code, detail=checked.detail)
        return RefusedJob(answer, job)
    return AllowedJob(job, statement.digest(), checked)


def _check_content(job: Job, standing: Standing) -> FetchOrder | Denial:
    if job.mode != "direct":
        return Denial(RefusalCode.UNSUPPORTED_MODE, f"this node fetches directly; {job.mode} is not supported")
    if job.accept_language is not None and not _LANGUAGES.fullmatch(job.accept_language):
        return Denial(RefusalCode.UNSUPPORTED_MODE, "accept_language is no list of languages (RFC 9110, 12.5.4)")
    url = check_url(job.url, test_sites=standing.test_sites)
    if isinstance(url, Refusal):
        return Denial(RefusalCode.URL_REFUSED, f"{url.reason}: {url.detail}")
    rules = standing.rules
    denial = (
        check_host(rules, url.host)
        or check_purpose(rules, job.purpose)
        or (Denial(RefusalCode.STOPPING, "the node is stopping") if standing.is_stopping else None)
        or check_moment(rules, standing.moment, standing.usage)
    )
    if denial is not None:
        return denial
    if standing.results_are_full:
        return Denial(RefusalCode.BUSY, "too many results wait for the dispatcher's acknowledgement")
    if standing.jobs_in_hand >= rules.max_concurrent_jobs:
        return Denial(RefusalCode.BUSY, f"{standing.jobs_in_hand} jobs are in hand already")
    return FetchOrder(
        url=url,
        accept_language=job.accept_language,
        max_wire_bytes=_clamp(job.max_wire_bytes, limits.WIRE_BYTES),
        max_body_bytes=_clamp(job.max_body_bytes, limits.BODY_BYTES),
        max_redirects=_clamp(job.max_redirects, limits.REDIRECTS),
        timeout_ms=_clamp(min(job.timeout_ms, job.expires_ms - standing.moment.now_ms), limits.JOB_LIFETIME_MS),
    )


def _clamp(value: int, largest: int) -> int:
    return max(0, min(value, largest))


def claimed_lease(statement: Statement) -> tuple[str, int]:
    """Read job id and lease of a job whose signature was not checked: good for an answer, for nothing else."""
    if statement.kind is not Kind.JOB:
        raise WrongKind(f"expected a job, got a {statement.kind.name.lower()}")
    claimed = decode_canonical(statement.payload, Job)
    return claimed.job_id, claimed.lease


def _refuse_unverified(statement: Statement, code: RefusalCode, detail: str) -> RefusedJob:
    job_id, lease = claimed_lease(statement)
    return RefusedJob(Refuse(job_id=job_id, lease=lease, reason=code, detail=detail), None)
