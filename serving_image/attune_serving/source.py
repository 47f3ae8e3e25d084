"""Where the configuration comes from: the ConfigMap, watched through the API server; while that is away, the mounted file; at a
start without both, the last one on disk. Never backwards: a file counts only if its generation is not older. Run by `__main__`.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import ValidationError

from attune.contract import PEERS_KEY, SERVING_KEY, ServingConfig
from attune_serving.kube import ApiServer, ConfigMapGone, WatchEnded
from attune_serving.replica import Replica

log = structlog.get_logger(__name__)

FILE_SECONDS = 2.0
FIRST_ANSWER_SECONDS = 3.0
LONGEST_PAUSE = 15.0


class Source:
    """Feeds a replica. `run` goes on until it is cancelled."""

    def __init__(
        self,
        replica: Replica,
        api: ApiServer | None,
        config_map: str | None,
        file: Path | None,
        on_peers: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`on_peers` is told who the other replicas are, whenever the ConfigMap was read."""
        self._replica = replica
        self._on_peers = on_peers
        self._api = api
        self._config_map = config_map
        self._file = file
        self._answered = asyncio.Event()
        self._away = True
        self._seen: str | None = None

    async def run(self) -> None:
        """Watch; fall back; come back."""
        tasks = [self._files()]
        if self._api is not None and self._config_map is not None:
            tasks.append(self._watch(self._api, self._config_map))
        await asyncio.gather(*tasks)

    async def _watch(self, api: ApiServer, name: str) -> None:
        pause = 0.2
        while True:
            try:
                async for data in api.config_map(name, SERVING_KEY):
                    self._away, pause = False, 0.2
                    self._answered.set()
                    self._on_peers(data.get(PEERS_KEY))
                    self._replica.read(data[SERVING_KEY], f"ConfigMap {name}")
            except ConfigMapGone as gone:
                self._away = False
                self._answered.set()
                self._replica.read(None, str(gone))
                pause = 1.0
            except WatchEnded as ended:
                if not ended.healthy:
                    self._lost(str(ended))
            except Exception as error:  # whatever is wrong with a configuration, the last one is served on
                log.exception("the watch of the configuration broke")
                self._lost(repr(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  spreads load, guards nothing
            if self._away:
                pause = min(LONGEST_PAUSE, pause * 2)

    def _lost(self, problem: str) -> None:
        if not self._away:
            log.warning("the API server is away; the last configuration is followed", problem=problem)
        self._away = True

    async def _files(self) -> None:
        """The mounted file, and before the first configuration the one on disk, unless the API server answers soon."""
        if self._api is not None and self._config_map is not None:
            try:
                await asyncio.wait_for(self._answered.wait(), FIRST_ANSWER_SECONDS)
            except TimeoutError:
                log.warning("the API server does not answer; looking at files")
        while True:
            try:
                if self._away or self._replica.told is None:
                    await self._look()
            except Exception:  # as above
                log.exception("the file of the configuration cannot be followed")
            await asyncio.sleep(FILE_SECONDS)

    async def _look(self) -> None:
        """A change of the file is offered; where nothing is known yet, what was followed before this start."""
        text = await asyncio.to_thread(self._read_file, self._file)
        if self._file is not None:
            self._on_peers(await asyncio.to_thread(self._read_file, self._file.with_name(PEERS_KEY)))
        if text is not None and text != self._seen:
            self._seen = text
            self._offer(text)
        if self._replica.told is None and (last := await asyncio.to_thread(self._replica.cache.last)) is not None:
            log.warning("following the configuration of the last run", generation=last.generation)
            self._replica.follow(last)

    def _offer(self, text: str) -> None:
        """A file may be older than what was read through the API server: kubelet writes it late."""
        known = self._replica.told
        try:
            found = ServingConfig.from_json(text)
        except ValidationError:
            found = None
        if known is not None and found is not None and found.generation < known.generation:
            return
        self._replica.read(text, f"file {self._file}")

    def _read_file(self, path: Path | None) -> str | None:
        try:
            return path.read_text(encoding="utf-8") if path is not None else None
        except (OSError, UnicodeDecodeError):
            return None
