"""The invariants of `lua/places.lua`, `lua/turns.lua` and `lua/jobs.lua`, looked up from the keys of a shard themselves."""

import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from redis import Redis

from tests.frontier.twin import DEFAULT_PACE, DOMAIN_PACE

_PLACE, _FLOW, _POOL = struct.Struct("<dddddiiiiBB"), struct.Struct("<ddi1s3s"), struct.Struct("<di3s")


@dataclass
class Place:
    most: int
    leased: int
    jobs: int
    domain: str
    claims: dict[str, tuple[str, str, str]]
    """By flow: kind, rank, moment."""


def _place(name: str, record: bytes) -> Place:
    _, _, _, _, _, most, leased, jobs, _, _, own = _PLACE.unpack_from(record)
    domain, _, text = record[_PLACE.size :].decode().partition(" ")
    claims = {text[at : at + 6]: (text[at + 6], text[at + 7], text[at + 8 : at + 21]) for at in range(0, len(text), 21)}
    if not own:
        most = (DOMAIN_PACE if name.startswith(".") else DEFAULT_PACE).max_concurrent
    return Place(most, leased, jobs, domain, claims)


def check_keys(url: str, tag: str = "{m:0}") -> None:
    """Assert what the scripts promise of their keys between calls."""
    client: Any = Redis.from_url(url)
    jobs: dict[str, bytes] = {key.decode(): value for key, value in client.hgetall(f"{tag}:jobs").items()}
    hashes = {name: client.hgetall(f"{tag}:{name}") for name in ("places", "flows", "pools")}
    sets = {
        name: [member.decode() for member in client.zrange(f"{tag}:{name}", 0, -1)]
        for name in ("queues", "due", "delayed", "turns", "idle")
    }
    leases = {member.decode(): int(score) for member, score in client.zrange(f"{tag}:leases", 0, -1, withscores=True)}
    client.close()
    places = {name.decode(): _place(name.decode(), record) for name, record in hashes["places"].items()}
    flows = {name.decode(): record for name, record in hashes["flows"].items() if b"|" not in name}
    names = {name.decode(): record.decode() for name, record in hashes["flows"].items() if b"|" in name}

    leased_at: Counter[str] = Counter()
    known_at: Counter[str] = Counter()
    known_of: Counter[str] = Counter()
    waiting_in: Counter[str] = Counter()
    queue: dict[tuple[str, str], list[str]] = defaultdict(list)
    members, delayed, expiries = set(), set(), {}
    for job_id, record in jobs.items():
        state, text = chr(record[0]), record[1:].decode()
        if state in "LA":
            expiries[job_id], text = int(text[16:29]), text[29:]
            text = text.split("\n", 2)[2] if state == "A" else text
        elif state == "D":
            moment, text = text[:13], text[13:]
        flow, host = text[:6], text[32 : text.index("\n")]
        known_at[host] += 1
        known_of[flow] += 1
        leased_at[host] += state in "LA"
        if state == "W":
            members.add(f"{host}|{text[:32]}{job_id}")
            queue[host, flow].append(text[6:32])
        elif state == "D":
            delayed.add(f"{_FLOW.unpack_from(flows[flow])[4].decode()}{moment}{job_id}")
        if state in "WD":
            waiting_in[flows[flow][_FLOW.size :].decode().partition("|")[0]] += 1
    assert expiries == leases
    assert set(sets["delayed"]) == delayed

    wanted_due = set()
    for name, place in places.items():
        for flow, (kind, rank, moment) in place.claims.items():
            assert kind != "P" or place.leased >= place.most, "parked though there is room"
            if kind == "D":
                wanted_due.add(f"{flow}{rank}{moment}{name}")
            if not name.startswith("."):
                assert rank == min(queue[name, flow])[0], "the rank is not that of the first job"
            if kind == "L":
                members.add(f"{place.domain}|{flow}{rank}{moment}{name}")
                queue[place.domain, flow].append(rank)
    for name, place in places.items():
        for flow, (_, rank, _) in place.claims.items():
            if name.startswith("."):
                assert rank == min(queue[name, flow])[0], "the rank is not that of the first host in line"
    for (place_name, flow), work in queue.items():
        assert not work or flow in places[place_name].claims, "work without a claim"
    assert set(sets["queues"]) == members
    assert set(sets["due"]) == wanted_due

    hosts_of: Counter[str] = Counter()
    leased_in: Counter[str] = Counter()
    for name, place in places.items():
        if not name.startswith("."):
            assert (place.leased, place.jobs) == (leased_at[name], known_at[name])
            hosts_of[place.domain] += 1
            leased_in[place.domain] += place.leased
    for name, place in places.items():
        if name.startswith("."):
            assert (place.leased, place.jobs) == (leased_in[name], hosts_of[name])

    entries = {turn[17:]: turn for turn in sets["turns"]}
    assert len(entries) == len(sets["turns"])
    for flow, record in flows.items():
        turn, moment_ms, known, state, pool = _FLOW.unpack_from(record)
        assert known == known_of[flow]
        assert names[record[_FLOW.size :].decode()] == flow
        expected = {b"A": f"A{int(turn):013d}", b"N": f"N{int(moment_ms):013d}"}.get(state)
        assert entries.get(flow) == (expected and f"{pool.decode()}{expected}{flow}")
        first = min((due[7:20] for due in wanted_due if due.startswith(flow)), default=None)
        assert first is None or state == b"A" or int(moment_ms) <= int(first)
    assert set(names.values()) == set(flows)
    for name, record in hashes["pools"].items():
        assert _POOL.unpack(record)[1] == waiting_in[name.decode()]
