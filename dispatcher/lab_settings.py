"""What a lab's command line reads from the environment, once."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dispatcher.errors import SetupError


class LabSettings(BaseSettings):
    """`MEADOW_API_URL`, `MEADOW_API_KEY`, and `XDG_STATE_HOME` (XDG Base Directory specification).

    A relative `XDG_STATE_HOME` is invalid by that specification and counts as unset.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    api_url: str | None = Field(default=None, validation_alias="MEADOW_API_URL")
    api_key: SecretStr | None = Field(default=None, validation_alias="MEADOW_API_KEY")
    xdg_state_home: Path | None = Field(default=None, validation_alias="XDG_STATE_HOME")

    @property
    def state_dir(self) -> Path:
        """The folder of this user's state, which holds `meadow/network.json`."""
        if self.xdg_state_home is not None and self.xdg_state_home.is_absolute():
            return self.xdg_state_home
        return Path.home() / ".local" / "state"


def read_lab_settings() -> LabSettings:
    """Read the environment; SetupError names every wrong value."""
    try:
        return LabSettings()
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise SetupError("the environment has values that cannot be used:\n  " + "\n  ".join(lines)) from error
