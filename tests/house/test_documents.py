"""The pages under docs/ name every setting, and the README's table names files that exist."""

import re
from pathlib import Path

from dispatcher.settings import DispatcherSettings

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_of_the_dispatcher_is_documented() -> None:
    documented = set(re.findall(r"^\| `(MEADOW_[A-Z_]+)` \|", (ROOT / "docs/operators.md").read_text(), re.MULTILINE))
    assert documented == {f"MEADOW_{name.upper()}" for name in DispatcherSettings.model_fields}


def test_every_path_that_the_readme_and_the_design_name_exists() -> None:
    missing = []
    for page in ("README.md", "docs/design.md", "docs/auditors.md", "docs/sharers.md"):
        for path in re.findall(r"`((?:[a-z_]+/)+[A-Za-z_.*]+)`", (ROOT / page).read_text()):
            if not list(ROOT.glob(path)):
                missing.append(f"{page}: {path}")
    assert missing == []
