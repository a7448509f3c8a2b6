"""The files of `deploy/` are what they claim to be, and name only what exists. No engine for containers runs here."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from dispatcher.cli import app
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.store_location import parse_location

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ENV_FILES = sorted((DEPLOY / "env").glob("*.example"))
_SERVICE_VARIABLES = re.compile(r"(POSTGRES|MINIO|GF|AWS)_[A-Z_]+")


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def variables(path: Path, *, commented: bool = True) -> dict[str, str]:
    """The variables an env file sets, and those it shows as comments."""
    lines = [line.removeprefix("#") if commented else line for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))


def known_settings() -> set[str]:
    return {f"MEADOW_{name.upper()}" for name in DispatcherSettings.model_fields}


def section(title: str) -> str:
    """The anchor of a heading, as Markdown renderers make it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def headings(path: Path) -> set[str]:
    return {section(line.lstrip("#")) for line in path.read_text().splitlines() if line.startswith("#")}


@pytest.mark.parametrize("path", ENV_FILES, ids=lambda path: path.name)
def test_every_variable_of_an_env_file_is_a_setting(path: Path) -> None:
    for name in variables(path):
        assert name in known_settings() or _SERVICE_VARIABLES.fullmatch(name), name


@pytest.mark.parametrize("name", ["dispatcher.env.example", "meadow.env.example"])
def test_a_dispatchers_env_file_is_accepted_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables(DEPLOY / "env" / name, commented=False).items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    assert settings.tls_in_front
    location = parse_location(str(settings.store_url), variables(DEPLOY / "env" / name, commented=False))
    assert (location.scheme, location.container) == ("s3", "meadow")


def test_the_compose_file_refers_only_to_what_it_has() -> None:
    compose = read("compose.yaml")
    services = compose["services"]
    assert {"postgres", "redis", "objects", "proxy", "prometheus", "grafana", "dispatcher-1", "dispatcher-2"} <= set(
        services
    )
    for name, service in services.items():
        image = service["image"]
        assert "/" not in image or "." not in image.split("/")[0], f"{image} names a host"
        assert ":" in image or image == "meadow-dispatcher", f"{image} is not pinned"
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), mount
            else:
                assert source in compose["volumes"], mount
        for env_file in service.get("env_file", ()):
            assert (DEPLOY / f"{env_file}.example").exists(), env_file
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()
        for wait, how in service.get("depends_on", {}).items() if isinstance(service.get("depends_on"), dict) else ():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[wait], f"{name} waits for {wait}"


def test_the_passwords_of_the_stores_are_those_the_dispatchers_use() -> None:
    stores = variables(DEPLOY / "env" / "stores.env.example")
    dispatcher = variables(DEPLOY / "env" / "dispatcher.env.example")
    url = f"postgresql://{stores['POSTGRES_USER']}:{stores['POSTGRES_PASSWORD']}@postgres:5432/{stores['POSTGRES_DB']}"
    assert dispatcher["MEADOW_DATABASE_URL"] == url
    assert dispatcher["AWS_SECRET_ACCESS_KEY"] == stores["MINIO_ROOT_PASSWORD"]


def test_commands_of_images_and_units_exist() -> None:
    compose = read("compose.yaml")
    commands = [
        json.loads(line[4:]) for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("CMD ")
    ]
    commands += [
        service["command"]
        for service in compose["services"].values()
        if service["image"] == "meadow-dispatcher" and "command" in service
    ]
    for unit in (DEPLOY / "systemd").glob("*.service"):
        commands += [line.split()[1:] for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert len(commands) >= 4
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0, (command, result.output)


def test_prometheus_scrapes_the_dispatchers_of_the_compose_file() -> None:
    config = read("prometheus/prometheus.yml")
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    services = read("compose.yaml")["services"]
    assert {target.split(":")[0] for target in targets} == {name for name in services if name.startswith("dispatcher-")}
    proxied = re.findall(r"(dispatcher-\d):8420", (DEPLOY / "Caddyfile").read_text())
    assert sorted(proxied) == sorted(target.split(":")[0] for target in targets)
    assert config["rule_files"] == ["alerts.yml"]


def test_every_alert_says_what_to_do_and_leads_to_a_section() -> None:
    rules = [rule for group in read("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    assert len(rules) >= 12
    known = headings(ROOT / "docs" / "operations.md")
    for rule in rules:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]
        assert len(rule["annotations"]["description"]) > 20
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in known, anchor


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "meadow.json").read_text())
    assert dashboard["schemaVersion"] >= 38
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = next(item for item in dashboard["templating"]["list"] if item["type"] == "datasource")
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == f"${{{source['name']}}}"
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["expr"].count("{") == target["expr"].count("}")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    program = tmp_path / "meadow"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in (DEPLOY / "systemd").glob("*.service"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/meadow/bin/meadow", str(program)))
    units = [str(tmp_path / "meadow@1.service"), str(tmp_path / "meadow-migrate.service")]
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    # Where no system runs, it has opinions on units of the machine's own; ours are named by their files.
    own = [line for line in ran.stderr.splitlines() if "meadow" in line.split(":")[0]]
    assert own == []


def test_links_of_the_page_lead_somewhere() -> None:
    page = ROOT / "docs" / "operations.md"
    text = page.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        assert not path or (page.parent / path).exists(), target
        if anchor and (not path or path.endswith(".md")):
            assert anchor in headings(page.parent / path if path else page), target
