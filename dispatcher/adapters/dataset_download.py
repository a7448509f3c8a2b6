"""One run of `meadow dataset build`: start the build, wait for it, download its files with their hashes verified."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dispatcher.adapters.api_client import ApiClient
from dispatcher.dataset_views import DatasetFileView, DatasetView
from dispatcher.errors import ApiAnswerError, ApiRefused, DownloadError

FIRST_POLL_S: Final = 0.1
LAST_POLL_S: Final = 2.0
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


async def download_dataset(
    client: ApiClient, batch_id: str, *, out: Path, on_progress: Callable[[int, int], None]
) -> DatasetView:
    """Build and download; the dataset as the API describes it. A file that is there with other bytes is not touched."""
    dataset = await client.start_dataset(batch_id)
    pause_s = FIRST_POLL_S
    while dataset.status == "building":
        await asyncio.sleep(pause_s)
        pause_s = min(LAST_POLL_S, pause_s * 1.5)
        dataset = await client.dataset(dataset.id)
    if dataset.status == "failed":
        why = dataset.error if isinstance(dataset.error, str) else "no reason given"
        raise ApiRefused(f"the dataset {dataset.id} could not be built: {why}", status=200, code="DATASET_FAILED")
    if dataset.status == "cancelled":
        raise ApiRefused(f"the dataset {dataset.id} was cancelled", status=200, code="DATASET_CANCELLED")
    wanted = [file for file in dataset.files if not await asyncio.to_thread(_is_there, out, file)]
    total, done = sum(file.bytes for file in wanted), 0
    for file in wanted:
        on_progress(done, total)
        await client.download(dataset.id, file, out / file.name)
        done += file.bytes
    on_progress(done, total)
    return dataset


def _is_there(out: Path, file: DatasetFileView) -> bool:
    """Tell whether a file is there already, byte for byte; DownloadError where something else has its name."""
    if not _FILE_NAME.fullmatch(file.name):
        raise ApiAnswerError(f"the API announces a file named {file.name[:80]!r}; such a name is not written")
    path = out / file.name
    try:
        with path.open("rb") as existing:
            digest = hashlib.file_digest(existing, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}; choose another folder with --out") from error
    if digest != file.sha256:
        raise DownloadError(f"{path} exists and is of another dataset; choose another folder with --out, or remove it")
    return True
