"""Errors of the cleaning package.

A page that cannot be cleaned is not an error: it is a `cleaning.document.Dropped`, a value with a reason.

    CleaningError
    ├── WorkerPoolError          ours: the pool could not do what it was asked
    │   ├── WorkerPoolClosed     the pool was not started, or is closed
    │   └── WorkerStartFailed    a worker process did not come up
    └── DatasetError             the dataset could not be written
        ├── DatasetExists        the place to write to is taken
        ├── DatasetDiskFull      no room left; nothing half-written stays
        └── DatasetUnwritable    any other refusal by the file system
"""


class CleaningError(Exception):
    """Root of every error this package raises on purpose."""


class WorkerPoolError(CleaningError):
    """The worker pool could not do what it was asked; no page was at fault."""


class WorkerPoolClosed(WorkerPoolError):
    """A page was handed to a pool that was not started, or that is closed."""


class WorkerStartFailed(WorkerPoolError):
    """A worker process ended before it was ready; the message carries its last words."""


class DatasetError(CleaningError):
    """The dataset could not be written; the folder is as it was before."""


class DatasetExists(DatasetError):
    """The output folder already holds something. Choose another, or remove it first."""


class DatasetDiskFull(DatasetError):
    """The disk or quota has no room left. Free some space and build again: nothing half-written stays."""


class DatasetUnwritable(DatasetError):
    """The file system refused a write; the message names the path and the cause."""
