"""The command `meadow-node`: `run` the node, look at it, and tell it what it may do."""

import asyncio
import contextlib
import csv
import json
import logging
import os
import random
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from node_agent import consent
from node_agent.adapters import key_file, system_clock
from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.asyncio_node import AsyncioNode, NodeIdentity
from node_agent.adapters.asyncio_signals import run_until_signalled
from node_agent.adapters.flock_folder import FolderLock, is_running, open_folder
from node_agent.adapters.psutil_networks import MachineNetworks
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.adapters.sqlite_rules import SqliteRules
from node_agent.dispatcher_url import parse_dispatcher_url
from node_agent.errors import ConsentMissing, FolderError, NodeError, SettingsInvalid
from node_agent.limit_values import read_limits
from node_agent.lines import CSV_HEADER, csv_row, log_line, printable, time_text, value_text
from node_agent.owner_rules import ALL_PURPOSES, check_moment, normalise_domain
from node_agent.settings import NodeSettings, read_settings
from node_agent.told import balance_facts, part_lines, reputation_facts
from protocol import base58
from protocol.keys import SigningKey
from protocol.urls import TestSites

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Lend a part of your internet connection to Meadow, on your terms.",
)


def _default_folder() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "meadow-node"


DataOption = Annotated[
    Path, typer.Option("--data", help="Data folder: key, log, limits.", default_factory=_default_folder)
]
"""Every command names the same folder the same way."""


@app.command()
def run(
    *,
    data: DataOption,
    dispatcher: Annotated[str | None, typer.Option(help="The dispatcher to work for: https://HOST[:PORT].")] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Agree to 'meadow-node terms' without being asked.")
    ] = False,
    wallet: Annotated[str | None, typer.Option(help="Solana address for rewards. Default: the node's own key.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Jobs at once.")] = None,
    country: Annotated[str | None, typer.Option(help="Where this machine is: two letters, as DE.")] = None,
    daily_bytes: Annotated[int | None, typer.Option(help="Bytes of pages a day.")] = None,
    daily_jobs: Annotated[int | None, typer.Option(help="Pages a day.")] = None,
    per_second: Annotated[float | None, typer.Option(help="Fetches a second.")] = None,
    purpose: Annotated[
        list[str] | None, typer.Option(help=f"Allowed purpose, repeatable: {', '.join(ALL_PURPOSES)}.")
    ] = None,
    root_key: Annotated[str | None, typer.Option(help="Trust this root key from now on.")] = None,
    allow_test_site: Annotated[
        list[str] | None, typer.Option(help="For tests only: let jobs reach this loopback HOST:PORT. Repeatable.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do one job, wait for its acknowledgement, and end.")] = False,
    die_with_parent: Annotated[bool, typer.Option("--die-with-parent", hidden=True)] = False,
) -> None:
    """Run the node until Ctrl-C. Limits given here are remembered; see 'meadow-node limits'."""
    settings = read_settings(
        dispatcher=dispatcher,
        accept_terms=accept_terms or None,
        wallet=wallet,
        max_concurrent=max_concurrent,
        country=country,
        daily_bytes=daily_bytes,
        daily_jobs=daily_jobs,
        per_second=per_second,
        purpose=tuple(purpose) if purpose else None,
        root_key=root_key,
        allow_test_site=tuple(allow_test_site) if allow_test_site else None,
        once=once or None,
        die_with_parent=die_with_parent or None,
    )
    _silence_aiohttp()
    folder = open_folder(data)
    with FolderLock(folder), _open_rules(folder) as rules:
        _ask_consent(rules, settings)
        _remember(rules, settings)
        _announce_test_sites(settings.allow_test_site)
        key = key_file.load_or_create(folder, secrets.token_bytes(32))
        exit_code = asyncio.run(_run(folder, settings, rules, key))
    raise typer.Exit(exit_code)


@app.command()
def terms() -> None:
    """Show what the program does and what it never does."""
    typer.echo(consent.TERMS, nl=False)


@app.command()
def status(data: DataOption, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show whether the node runs, what it may do, and what it did today."""
    folder = open_folder(data)
    with _open_rules(folder) as rules, _open_journal(folder) as journal:
        moment = system_clock.moment()
        usage, totals, stored = journal.usage_since(moment.day_start_ms), journal.totals(), rules.limits()
        standing, owner, reputation = rules.standing(), rules.rules(), rules.reputation()
        running = is_running(folder)
        denial = check_moment(owner, moment, usage)
        facts = {
            "running": running,
            "state": standing.state if running else "stopped",
            "takes_jobs": running and denial is None,
            "reason": denial.detail if denial is not None else standing.trouble if running else "",
            "dispatcher": standing.dispatcher,
            "node_key": standing.node_key,
            "wallet": standing.wallet,
            "data": str(folder),
            "paused": stored.paused,
            "today_jobs": usage.jobs,
            "today_bytes": usage.wire_bytes,
            "all_jobs": totals.jobs,
            "all_bytes": totals.wire_bytes,
            "reward_logged": totals.reward,
            **balance_facts(rules.balance()),
            **reputation_facts(reputation),
            "waiting_results": SpoolFolder(folder).waiting(),
            "limits": msgspec.to_builtins(stored),
            "blocked_domains": sorted(owner.blocked_domains),
            "test_sites": list(standing.test_sites) if running else [],
        }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if name == "limits":
            _show_limits(stored)
        elif name == "reputation_parts":
            for line in part_lines(reputation):
                typer.echo(line)
        elif value not in ("", [], None):
            typer.echo(f"{name.replace('_', ' '):<18}{printable(value_text(value))}")
    if facts["test_sites"]:
        _announce_test_sites(standing.test_sites)


@app.command()
def log(
    data: DataOption,
    limit: Annotated[int | None, typer.Option(help="How many entries; the newest first.", min=1)] = 50,
    everything: Annotated[bool, typer.Option("--all", help="The whole log.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")] = False,
) -> None:
    """Show every URL that was fetched or refused: when, for what purpose, bytes, reward."""
    with _open_journal(open_folder(data)) as journal:
        entries = journal.newest(None if everything else limit)
        if as_json:
            for entry in entries:
                typer.echo(msgspec.json.encode(entry).decode())
            return
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(CSV_HEADER)
            writer.writerows(csv_row(entry) for entry in entries)
            return
        for entry in entries:
            typer.echo(log_line(entry))


@app.command()
def pause(data: DataOption) -> None:
    """Take no new jobs until 'resume'. Works on a running node within a second."""
    with _open_rules(open_folder(data)) as rules:
        rules.set_limits(paused=True)
    typer.echo("paused: no new jobs until 'meadow-node resume'; jobs in hand are finished")


@app.command()
def resume(data: DataOption) -> None:
    """Take jobs again."""
    with _open_rules(open_folder(data)) as rules:
        rules.set_limits(paused=False)
    typer.echo("resumed: jobs are taken again")


@app.command()
def block(data: DataOption, domain: Annotated[str, typer.Argument(help="As example.org.")]) -> None:
    """Never fetch from a domain or its subdomains."""
    name = _domain(domain)
    with _open_rules(open_folder(data)) as rules:
        rules.block(name)
    typer.echo(f"blocked: nothing is fetched from {name} and its subdomains")


@app.command()
def unblock(data: DataOption, domain: Annotated[str, typer.Argument(help="As example.org.")]) -> None:
    """Take a domain off the list of blocked ones."""
    name = _domain(domain)
    with _open_rules(open_folder(data)) as rules:
        if not rules.unblock(name):
            raise SettingsInvalid(f"{name} is not blocked; 'meadow-node status' lists what is")
    typer.echo(f"unblocked: {name}")


@app.command()
def limits(
    *,
    data: DataOption,
    daily_bytes: Annotated[str | None, typer.Option(help="Bytes of pages a day, or 'none'.")] = None,
    daily_jobs: Annotated[str | None, typer.Option(help="Pages a day, or 'none'.")] = None,
    per_second: Annotated[str | None, typer.Option(help="Fetches a second, or 'none'.")] = None,
    max_concurrent: Annotated[str | None, typer.Option(help="Jobs at once.")] = None,
    hours: Annotated[
        list[str] | None, typer.Option(help="Local time, as 22:00-07:00; repeatable; 'always' for no limit.")
    ] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="Allowed purpose, repeatable; 'all' for every one.")] = None,
) -> None:
    """Show the limits, or set those that are given."""
    changes = read_limits(
        daily_bytes=daily_bytes,
        daily_jobs=daily_jobs,
        per_second=per_second,
        max_concurrent=max_concurrent,
        hours=hours,
        purposes=purpose,
    )
    with _open_rules(open_folder(data)) as rules:
        if changes:
            rules.set_limits(**changes)
        _show_limits(rules.limits())


async def _run(folder: Path, settings: NodeSettings, rules: SqliteRules, key: SigningKey) -> int:
    test_sites = TestSites.parse(settings.allow_test_site)
    dispatcher = parse_dispatcher_url(settings.dispatcher)
    wallet = settings.wallet or base58.encode(key.public_bytes)
    spool = SpoolFolder(folder)
    spool.open()
    networks = MachineNetworks()
    fetch = AiohttpFetch(test_sites=test_sites, own_networks=networks)
    with _open_journal(folder) as journal:
        async with fetch:
            jobs = AsyncioJobs(
                key=key,
                wallet=wallet,
                fetch=fetch,
                journal=journal,
                spool=spool,
                rules=rules.rules,
                moment=system_clock.moment,
                test_sites=test_sites,
                report=_report,
            )
            node = AsyncioNode(
                dispatcher=dispatcher,
                identity=NodeIdentity(key, wallet, settings.country, settings.allow_test_site),
                jobs=jobs,
                rules=rules,
                now_ms=system_clock.now_ms,
                random=random.SystemRandom().random,
                report=_report,
                seen_at=networks.seen_at,
                once=settings.once,
            )
            _report(f"node {key.public}, rewards to {wallet}, log and limits in {folder}")
            return await run_until_signalled(node, die_with_parent=settings.die_with_parent, report=_report)


def _silence_aiohttp() -> None:
    """Keep the library's own warnings off the terminal: they quote what sites sent, control characters and all."""
    library = logging.getLogger("aiohttp")
    library.addHandler(logging.NullHandler())
    library.propagate = False


def _ask_consent(rules: SqliteRules, settings: NodeSettings) -> None:
    if consent.is_accepted(rules.acceptance()):
        return
    if settings.accept_terms:
        rules.accept(consent.Acceptance(consent.TERMS_VERSION, system_clock.now_ms(), "option"))
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConsentMissing(consent.NO_TERMINAL)
    typer.echo(consent.TERMS)
    if not typer.confirm(consent.QUESTION, default=False):
        raise ConsentMissing(consent.REFUSED)
    rules.accept(consent.Acceptance(consent.TERMS_VERSION, system_clock.now_ms(), "terminal"))


def _remember(rules: SqliteRules, settings: NodeSettings) -> None:
    given: dict[str, object] = {
        "daily_bytes": settings.daily_bytes,
        "daily_jobs": settings.daily_jobs,
        "per_second": settings.per_second,
        "max_concurrent_jobs": settings.max_concurrent,
        "purposes": settings.purpose or None,
    }
    rules.set_limits(**{name: value for name, value in given.items() if value is not None})
    if settings.root_key is not None:
        rules.pin_root(settings.root_key)


def _announce_test_sites(sites: tuple[str, ...]) -> None:
    if sites:
        typer.echo("!" * 78, err=True)
        typer.echo(f"!! TEST SITES ALLOWED: jobs may reach {', '.join(sites)} on this machine.", err=True)
        typer.echo("!! This is for tests. Without --allow-test-site nothing on this machine can be reached.", err=True)
        typer.echo("!" * 78, err=True)


def _show_limits(stored: msgspec.Struct) -> None:
    for name, value in msgspec.to_builtins(stored).items():
        shown = "no limit" if value in (None, (), []) else value_text(value)
        typer.echo(f"{name.replace('_', ' '):<22}{shown}")


def _domain(text: str) -> str:
    try:
        return normalise_domain(text)
    except ValueError as error:
        raise SettingsInvalid(str(error)) from error


@contextlib.contextmanager
def _open_rules(folder: Path) -> Iterator[SqliteRules]:
    with contextlib.closing(SqliteRules(folder)) as rules:
        yield rules


@contextlib.contextmanager
def _open_journal(folder: Path) -> Iterator[SqliteJournal]:
    with contextlib.closing(SqliteJournal(folder)) as journal:
        yield journal


def _report(line: str) -> None:
    typer.echo(f"{time_text(system_clock.now_ms())} {printable(line)}", err=True)


def main() -> None:
    """Run the command; an error becomes its text and its exit code."""
    try:
        app()
    except NodeError as error:
        typer.echo(f"meadow-node: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        folder_error = FolderError(f"{error.filename or 'a file'} cannot be used: {error.strerror}")
        typer.echo(f"meadow-node: {printable(str(folder_error))}", err=True)
        sys.exit(folder_error.exit_code)


if __name__ == "__main__":
    main()
