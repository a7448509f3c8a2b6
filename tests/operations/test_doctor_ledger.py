"""What the doctor says of databases that are really broken in that way."""

import asyncio
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dispatcher.adapters import migrations
from dispatcher.adapters.network_keys import public_facts
from dispatcher.adapters.operator_keys import load_operator_keys
from dispatcher.adapters.sql_ledger import open_ledger
from dispatcher.doctor import Level
from tests.operations.doctor import SECRET, Doctor
from tests.servers import PostgresServer, missing_postgres, shared_postgres


def made(url: str, facts: dict[str, str] | None = None) -> None:
    """Make a ledger, as the first start of a network does."""

    async def make() -> None:
        ledger = await open_ledger(url)
        await ledger.agree(facts or {})
        await ledger.lead("log", holder="one", now_ms=0, lease_ms=1)
        await ledger.close()

    asyncio.run(make())


def sqlite_ledger(doctor: Doctor, facts: dict[str, str] | None = None) -> Path:
    path = doctor.data / "ledger.sqlite3"
    made(f"sqlite:///{path}", facts)
    return path


def run_sql(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()


@pytest.fixture
def postgres() -> PostgresServer:
    if missing := missing_postgres():
        pytest.skip(missing)
    return shared_postgres()


def test_a_sound_file_is_whole_writable_and_of_this_version(doctor: Doctor) -> None:
    sqlite_ledger(doctor)
    found = {check.name: check.level for check in doctor.look().checks if check.name.startswith("ledger")}
    assert found == {"ledger": Level.OK, "ledger-writes": Level.OK, "ledger-invariants": Level.OK}


def test_a_file_of_a_newer_version(doctor: Doctor) -> None:
    run_sql(sqlite_ledger(doctor), "UPDATE alembic_version SET version_num = '9999'")
    check = doctor.check("ledger")
    assert check.level is Level.FAIL
    assert "9999" in check.says
    assert "install that version" in check.fix


def test_a_file_of_an_older_revision(doctor: Doctor) -> None:
    run_sql(sqlite_ledger(doctor), f"UPDATE alembic_version SET version_num = '{migrations.REVISIONS[0]}'")
    check = doctor.check("ledger")
    assert check.level is Level.WARN
    assert migrations.HEAD in check.says


def test_a_file_that_is_no_database(doctor: Doctor) -> None:
    doctor.data.mkdir()
    (doctor.data / "ledger.sqlite3").write_bytes(b"not a database at all" * 100)
    check = doctor.check("ledger")
    assert check.level is Level.FAIL
    assert "cannot be read" in check.says


def test_a_broken_invariant(doctor: Doctor) -> None:
    run_sql(sqlite_ledger(doctor), "INSERT INTO log_entries VALUES (7, x'00')")
    check = doctor.check("ledger-invariants")
    assert check.level is Level.FAIL
    assert "log indexes are gapless" in check.says


def test_the_doctor_makes_nothing(doctor: Doctor) -> None:
    doctor.look()
    assert not doctor.data.exists()


def test_keys_of_another_network(doctor: Doctor, tmp_path: Path) -> None:
    load_operator_keys(doctor.data / "keys", solana_keypair=None)
    facts = public_facts(doctor.data / "keys", None)
    sqlite_ledger(doctor, facts)
    assert doctor.check("keys-agree").level is Level.OK
    load_operator_keys(tmp_path / "others", solana_keypair=None)
    check = doctor.check("keys-agree", MEADOW_KEYS_DIR=str(tmp_path / "others"))
    assert check.level is Level.FAIL
    assert "root_key" in check.says
    assert "log_key" in check.says
    assert all(value not in check.says for value in facts.values())


def test_keys_that_others_may_read(doctor: Doctor) -> None:
    load_operator_keys(doctor.data / "keys", solana_keypair=None)
    (doctor.data / "keys" / "log_key.seed").chmod(0o644)
    check = doctor.check("keys")
    assert check.level is Level.FAIL
    assert "log_key.seed" in check.says
    assert "chmod 600" in check.fix


def test_a_sound_postgres(doctor: Doctor, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        assert "empty" in doctor.check("ledger", MEADOW_DATABASE_URL=url).says
        made(url)
        found = {check.name: check for check in doctor.look(MEADOW_DATABASE_URL=url).checks}
        for name in ("ledger", "ledger-clock", "ledger-writes", "keys-agree", "ledger-invariants", "duties"):
            assert found[name].level is Level.OK, found[name]


def test_a_postgres_with_tables_of_another_revision(doctor: Doctor, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        made(url)
        name = urlsplit(url).path.strip("/")
        postgres.execute(f"UPDATE alembic_version SET version_num = '{migrations.REVISIONS[0]}'", database=name)
        older = doctor.check("ledger", MEADOW_DATABASE_URL=url)
        postgres.execute("UPDATE alembic_version SET version_num = '9999'", database=name)
        newer = doctor.check("ledger", MEADOW_DATABASE_URL=url)
    assert (older.level, newer.level) == (Level.WARN, Level.FAIL)
    assert "migrat" in older.fix


def test_a_postgres_that_takes_no_writes(doctor: Doctor, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        made(url)
        name = urlsplit(url).path.strip("/")
        postgres.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        check = doctor.check("ledger-writes", MEADOW_DATABASE_URL=url)
    assert check.level is Level.FAIL
    assert "default_transaction_read_only" in check.says


def test_a_postgres_database_that_is_none_of_ours(doctor: Doctor, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        postgres.execute("CREATE TABLE customers (id int)", database=urlsplit(url).path.strip("/"))
        check = doctor.check("ledger", MEADOW_DATABASE_URL=url)
    assert check.level is Level.FAIL
    assert "not a Meadow ledger" in check.says


def test_a_wrong_password_and_a_missing_database(doctor: Doctor, postgres: PostgresServer) -> None:
    url = f"postgresql://meadow:{SECRET}@127.0.0.1:{postgres.port}/meadow"
    wrong = doctor.check("ledger", MEADOW_DATABASE_URL=url)
    missing = doctor.check("ledger", MEADOW_DATABASE_URL=postgres.url_of("nowhere"))
    assert (wrong.level, missing.level) == (Level.FAIL, Level.FAIL)
    assert "password" in wrong.says
    assert "nowhere" in missing.says


def test_a_postgres_that_is_stopped(doctor: Doctor) -> None:
    url = f"postgresql://meadow:{SECRET}@127.0.0.1:1/meadow"
    check = doctor.check("ledger", MEADOW_DATABASE_URL=url)
    assert check.level is Level.FAIL
    assert "not reachable" in check.says
