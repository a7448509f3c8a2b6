"""A sharer's past, made up: thirty days of the log with its sums, earnings, reputation. The same for the same moment.

Everything agrees with everything else, as it does where a node really worked: the hours are the sums of the log, the
rewards follow the tariff, the reputation is the dispatcher's own formula over the log's outcomes.
"""

import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dispatcher.conduct import NodeConduct
from dispatcher.reputation import reputation_of
from provenance.tariff import reward
from tests.extension.chromium import chromium
from tests.extension.conftest import World
from tests.extension.sharer import DIST, BrowserName, Sharer, build_of, sharer

Entry = dict[str, Any]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYS = 30
ENTRIES = 1_240
DISPATCHER = "https://dispatcher.meadow.example"
WALLET = "7EYnhQoR9YM3N7UoaKRoA44Uy8JeaZV3qyouov87awMs"
OTHER_WALLET = "So11111111111111111111111111111111111111112"
ROOT_KEY = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
NODE_KEY = "JUO5L_EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0"
PURPOSES = ("train-ai", "search", "rag", "research", "archive", "monitoring")
BLOCKED = ("bank.example", "clinic.example.org", "xn--mnchen-3ya.example")
FORMULAS = ('=HYPERLINK("http://x.example","win")', "+1+1", "-2+3", "@SUM(A1:A9)", "\t=1+1")
"""What a spreadsheet would compute, if the export let it."""
MARKUP = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
TURNED = "annual\u202efdp.exe\u202c \u2066\u2067gnp.\u2069"

_MARK = 7
_NODE_LOCK = "meadow-node"
_JOB_ID = "0199a3c5-{:04x}-7{:03x}-8{:03x}-{:012x}"
_SITES = {
    "en.wikipedia.org": ("/wiki/Meadow", "/wiki/Hay_meadow", "/wiki/Biodiversity", "/wiki/Pollinator"),
    "news.example.org": ("/2026/09/harvest-late", "/2026/09/ferry-timetable", "/science/bees-return", "/"),
    "www.museum-of-clocks.example": ("/exhibits/pendulum", "/visit", "/exhibits/water-clocks?lang=en"),
    "docs.example.dev": ("/guide/install", "/reference/streams", "/changelog"),
    "forum.example.net": ("/t/first-frost/1822", "/t/which-scythe/977?page=3", "/latest"),
    "shop.example.com": ("/seeds/cornflower", "/seeds/yarrow?sort=price&page=2"),
    "www.city.example.gov": ("/parks/opening-hours", "/notices/2026/114"),
    "xn--mnchen-3ya.example": ("/wetter", "/kultur/programm"),
}
_BY_HOUR = (0, 0, 0, 0, 0, 0, 1, 4, 6, 4, 3, 3, 4, 4, 3, 4, 6, 9, 13, 16, 17, 14, 9, 3)
"""How much a household's computer is on, by UTC hour."""
_OUTCOMES = ("stored", "failed", "refused", "duplicate", "rejected", "noted", "stale", "interrupted", "cancelled")
_OFTEN = (860, 52, 34, 12, 6, 8, 6, 14, 8)
_FAILURES = (
    ("timeout", "nothing came for 20 s"),
    ("dns_failed", "the name has no address"),
    ("connect_failed", "the site closed the connection"),
    ("tls_failed", "the site's certificate is not valid for its name"),
    ("body_too_large", "the body is larger than 5,242,880 bytes"),
)
_REFUSALS = (
    ("blocked_by_owner", "the owner of this node blocked the domain"),
    ("purpose_not_allowed", "the owner of this node does not lend it for monitoring"),
    ("cap_reached", "the owner's limit of bytes a day is reached"),
    ("busy", "4 jobs are in hand already"),
)


def entries(now_ms: int, count: int = ENTRIES) -> list[Entry]:
    """So many entries of the log over the last thirty days, newest first; the first two are on the way."""
    chance = random.Random(_MARK)
    hours = [
        (
            now_ms - number * HOUR_MS,
            _BY_HOUR[(now_ms // HOUR_MS - number) % 24] * (0.2 if number // 24 in (9, 20) else 1),
        )
        for number in range(DAYS * 24)
    ]
    moments = chance.choices([moment for moment, _ in hours], [often for _, often in hours], k=count)
    started = sorted((moment - chance.randrange(40_000, HOUR_MS) for moment in moments), reverse=True)
    started[:2] = [now_ms - 3_000, now_ms - 9_000]
    return [_entry(chance, number, moment) for number, moment in enumerate(started)]


def _entry(chance: random.Random, number: int, started_ms: int) -> Entry:
    host = chance.choice(list(_SITES))
    url = f"https://{host}{chance.choice(_SITES[host])}"
    outcome = ("fetching", "sent")[number] if number < 2 else chance.choices(_OUTCOMES, _OFTEN)[0]
    took_ms = round(chance.lognormvariate(6.4, 0.7))
    entry: Entry = {
        "job_id": _JOB_ID.format(number, number % 4096, 4095 - number % 4096, number * 7_919),
        "lease": 1_843_200_000_000_000 + number,
        "started_ms": started_ms,
        "finished_ms": None if outcome == "fetching" else started_ms + took_ms,
        "url": url,
        "host": host,
        "final_url": url,
        "hops": [],
        "purpose": chance.choice(PURPOSES),
        "status": 200,
        "received_bytes": min(5_000_000, round(chance.lognormvariate(12.9, 0.9))),
        "sent_bytes": 0,
        "outcome": outcome,
        "reason": "",
        "detail": "",
        "reward": 0,
        "log_index": None,
    }
    if outcome in ("stored", "duplicate"):
        entry["reason"], entry["log_index"] = outcome, 2_418_022 - number
        entry["status"] = chance.choices((200, 404, 503), (60, 3, 1))[0]
        entry["reward"] = reward("direct", entry["received_bytes"], entry["status"])
        if number % 23 == 7:
            entry["hops"], entry["final_url"] = [f"{url}?hop=1"], f"{url}?welcome=1"
    elif outcome in ("failed", "refused", "interrupted", "fetching"):
        entry |= {"status": None, "received_bytes": 0, "final_url": None}
        pair = {"failed": _FAILURES, "refused": _REFUSALS}.get(outcome, (("", ""),))
        entry["reason"], entry["detail"] = chance.choice(pair)
        if outcome == "interrupted":
            entry["reason"], entry["detail"] = "stopping", "the browser ended the extension's worker"
    elif outcome == "noted":
        entry["reason"], entry["status"] = outcome, 429
    elif outcome == "rejected":
        entry["reason"], entry["detail"] = "rejected", "the body does not match the record's body_hash and body_bytes"
    else:
        entry["reason"] = "" if outcome == "sent" else outcome
    entry["sent_bytes"] = round(entry["received_bytes"] * 0.31)
    return entry


def hostile_entries(now_ms: int) -> list[Entry]:
    """What sites and dispatchers could have the log say: markup, turned text, formulas, an endless address."""
    known = entries(now_ms, 40)[10]
    long = "https://shop.example.com/" + "/".join(["a%20long%20category"] * 30) + "?q=" + "x" * 900
    said: list[dict[str, Any]] = [
        {"url": f"https://news.example.org/{MARKUP}", "detail": MARKUP, "outcome": "rejected", "reason": MARKUP},
        {"url": f"https://news.example.org/{TURNED}", "detail": TURNED, "outcome": "failed", "reason": TURNED},
        {"url": long, "final_url": long + "&next=1", "hops": [long] * 3, "host": "shop.example.com"},
        {"url": "https://" + "very-long-label." * 14 + "example/", "host": "very-long-label." * 14 + "example"},
        *({"url": f"https://news.example.org/{text}", "final_url": text, "detail": text} for text in FORMULAS),
        {"detail": 'a "quoted", comma\r\nand two lines', "purpose": "=1+1"},
    ]
    return [
        {
            **known,
            "host": "news.example.org",
            "started_ms": now_ms - 60_000 - 1_000 * place,
            "lease": 9_000 + place,
            "finished_ms": now_ms - 59_000,
            **one,
        }
        for place, one in enumerate(said)
    ]


def hours(log: Sequence[Entry]) -> list[dict[str, int]]:
    """The sums by the hour that the store keeps beside such a log."""
    sums: dict[int, dict[str, int]] = {}
    for entry in log:
        hour_ms = entry["started_ms"] // HOUR_MS * HOUR_MS
        names = ("jobs", "stored", "received_bytes", "sent_bytes", "reward")
        total = sums.setdefault(hour_ms, {"hour_ms": hour_ms, **dict.fromkeys(names, 0)})
        total["jobs"] += entry["outcome"] != "refused"
        total["stored"] += entry["outcome"] == "stored"
        for name in names[2:]:
            total[name] += entry[name]
    return list(sums.values())


def earnings(log: Sequence[Entry], now_ms: int) -> dict[str, int]:
    """What the dispatcher would say of it: an hour's rewards wait, a day's are confirmed, older ones are paid."""
    sums = {"pending": 0, "confirmed": 0, "paid": 0, "void": 408}
    for entry in log:
        age_ms = now_ms - entry["started_ms"]
        sums["pending" if age_ms < HOUR_MS else "confirmed" if age_ms < DAY_MS else "paid"] += entry["reward"]
    return {**sums, "time_ms": now_ms - 41_000}


def reputation(log: Sequence[Entry], now_ms: int) -> dict[str, Any]:
    """The dispatcher's opinion of such a node, seen for the first time thirteen days ago."""
    count = {name: sum(entry["outcome"] == name for entry in log) for name in _OUTCOMES}
    conduct = NodeConduct(
        node_key=NODE_KEY,
        stored=count["stored"],
        fruitless=count["failed"] + count["refused"] + count["rejected"],
        rejected=count["rejected"],
        failed_alone=count["failed"] // 3,
        expired=count["interrupted"],
        credits=count["stored"],
        void=1,
        first_seen_ms=now_ms - 13 * DAY_MS,
    )
    said = reputation_of(conduct, now_ms=now_ms - 41_000)
    parts = [{"name": part.name, "value": part.value, "reason": part.reason} for part in said.parts]
    return {"score": said.score, "parts": parts, "time_ms": said.time_ms}


def standing(now_ms: int, **changes: object) -> dict[str, Any]:
    """What a node at work says of itself."""
    said = {
        "state": "connected",
        "since_ms": now_ms - 2 * HOUR_MS,
        "dispatcher": DISPATCHER,
        "node_key": NODE_KEY,
        "available": 2,
        "idle_reason": "",
        "jobs_in_hand": 2,
        "trouble": "",
        "dial_ms": None,
        "dial_failures": 0,
    }
    return {**said, **changes}


def rules(**changes: object) -> dict[str, Any]:
    """The owner's rules."""
    said: dict[str, Any] = {
        "pause": None,
        "blocked_domains": list(BLOCKED),
        "purposes": list(PURPOSES),
        "hours": [],
        "daily_bytes": 100_000_000,
        "daily_jobs": None,
        "max_concurrent_jobs": 4,
        "only_on_wifi": False,
        "only_on_mains": False,
    }
    return {**said, **changes}


def owner_state(log: Sequence[Entry], now_ms: int, *, wallet: str = WALLET) -> dict[str, Any]:
    """Every key of the extension's storage, as it is where the log is this one."""
    return {
        "consent": {"version": 1, "accepted_ms": now_ms - DAYS * DAY_MS},
        "rules": rules(),
        "wallet": {"address": wallet, "own": True, "backed_up": False},
        "dispatcher": DISPATCHER,
        "pinned_root": ROOT_KEY,
        "standing": standing(now_ms),
        "earnings": earnings(log, now_ms),
        "reputation": reputation(log, now_ms),
    }


_WRITE_LOG = """
async (text) => {
  const { entries, hours } = JSON.parse(text);
  const opening = indexedDB.open("meadow");
  const database = await new Promise((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  const writing = database.transaction(["journal", "hours"], "readwrite");
  const [journal, sums] = [writing.objectStore("journal"), writing.objectStore("hours")];
  if (hours !== null) for (const store of [journal, sums]) store.clear();
  for (const entry of entries) journal.put(entry);
  for (const hour of hours ?? []) sums.put(hour);
  await new Promise((resolve, reject) => {
    writing.oncomplete = resolve;
    writing.onabort = () => reject(writing.error);
  });
  database.close();
  new BroadcastChannel("meadow-journal").postMessage(null);
}
"""
_HOLD_NODE = f"""
new Promise((held) => navigator.locks.request("{_NODE_LOCK}", () => {{ held(true); return new Promise(() => {{}}); }}))
"""


def hold_node(person: Sharer) -> None:
    """Keep the extension's node from running while the person's view is open: what is seeded then stays as it is."""
    person.view.evaluate(_HOLD_NODE)


def write_log(person: Sharer, log: Sequence[Entry]) -> None:
    """Put this log with its sums in place of what is there, and have open pages hear of it."""
    _write(person, {"entries": list(log), "hours": hours(log)})


def add_to_log(person: Sharer, log: Sequence[Entry]) -> None:
    """Add entries, or change those that are there; open pages hear of it. The sums stay."""
    _write(person, {"entries": list(log), "hours": None})


def _write(person: Sharer, what: dict[str, Any]) -> None:
    person.view.evaluate(_WRITE_LOG, json.dumps(what))


def write_state(person: Sharer, state: dict[str, Any]) -> None:
    """Put this state in place of what the storage holds."""
    person.view.evaluate(f"chrome.storage.local.clear().then(() => chrome.storage.local.set({json.dumps(state)}))")


@contextlib.contextmanager
def seeded_sharer(world: World, name: BrowserName, folder: Path) -> Iterator[tuple[Sharer, str]]:
    """A browser whose owner agreed in it, whose node is held, and whose past is `DAYS` long; and its own wallet's address.

    No dispatcher is there: what the node would have heard is in the storage.
    """
    with sharer(world, name, folder) as person:
        yield person, settle_in(person)
        assert person.browser.errors() == []


@contextlib.contextmanager
def seeded_in(world: World, language: str, folder: Path) -> Iterator[Sharer]:
    """The same in a Chromium that speaks another language, named as its command line does: `zh-CN`."""
    with chromium(world.sandbox, DIST / build_of("chromium"), folder, more=(f"--lang={language}",)) as browser:
        person = Sharer(browser, browser.open("popup.html"))
        settle_in(person)
        yield person
        assert person.browser.errors() == []


def settle_in(person: Sharer) -> str:
    """Agree for real, then put the past in place of what a node at work would have written; the own wallet's address."""
    now_ms = round(time.time() * 1000)
    hold_node(person)
    person.agree(DISPATCHER)
    wallet: str = person.state()["wallet"]["address"]
    log = entries(now_ms)
    write_log(person, log)
    write_state(person, owner_state(log, now_ms, wallet=wallet))
    return wallet
