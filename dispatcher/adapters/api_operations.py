"""Every operation of the HTTP API, as the OpenAPI document and the page of the documentation tell it.

A test holds that this is the list of the routes that are served.
"""

from typing import Final

from dispatcher.adapters.account_operations import TEAM
from dispatcher.adapters.dataset_operations import DATASETS, SCHEDULES
from dispatcher.adapters.page_operations import PAGES, SITES
from dispatcher.openapi import Operation

PROOF: Final = (
    Operation(
        name="readProof",
        method="get",
        path="/log/proof/{index}/{id}.tlog-proof",
        tag="Proof",
        words="The proof of a record's place in the log. It takes no key, and never changes once it is there.",
        media_type="text/plain",
        errors=(404, 503),
        public=True,
    ),
)
OPERATIONS: Final = (*PAGES, *SITES, *DATASETS, *SCHEDULES, *TEAM, *PROOF)
