"""`attune-trainer cancel`: what the API still trains for a run that has ended is cancelled. The Job that the operator makes calls it.

The Pod of the train stage may be on its way out while this runs, with a request on its way to the API: so it is looked for again,
until nothing was found for longer than a Pod takes to end.
"""

import logging
import time
from collections.abc import Callable

from attune_trainer.hosted.fine_tuning import OVER, RUN, client_of, explained

log = logging.getLogger(__name__)
LOOKS = (0.0, 5.0, 25.0, 65.0)
"""Seconds after the start; a Pod has 60 to end."""


def cancel(base_url: str, uid: str, wait: Callable[[float], None] = time.sleep) -> int:
    """Cancel every job of the TrainingJob with this uid, once it is found; returns how many. StoreUnavailable, BadConfig."""
    cancelled: set[str] = set()
    at = 0.0
    for look in LOOKS:
        wait(look - at)
        at = look
        for job in live(base_url, uid):
            with explained(base_url):
                client_of(base_url).fine_tuning.jobs.cancel(job)
            log.info("job %s cancelled", job)
            cancelled.add(job)
    return len(cancelled)


def live(base_url: str, uid: str) -> list[str]:
    """Jobs of that TrainingJob that are not over, by their metadata or their file; all pages are looked through."""
    client = client_of(base_url)
    with explained(base_url):
        files = {f.id for f in client.files.list(purpose="fine-tune") if f.filename.startswith(f"attune-{uid}-")}
        jobs = list(client.fine_tuning.jobs.list(limit=100))
    return [
        job.id
        for job in jobs
        if job.status not in OVER
        and ((job.metadata or {}).get(RUN, "").partition(" ")[0] == uid or job.training_file in files)
    ]
