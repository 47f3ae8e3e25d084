"""Asks the language model about articles, within its limits, and never twice. Called by sources.py.

Answers are kept in the store every few articles, so that a killed run loses what was under way and no more. Limits: `maxArticles` by
the choice of documents before; `maxCostUSD` here, by the tokens that the server charged to this run (all its attempts) plus
the most that a request under way can cost.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from attune.contract import SyntheticSource
from attune.contract.layout import join
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.synthetic.cache import Entry, QuestionCache
from attune_trainer.data.synthetic.chat import RETRIES, Chat, Refused, Reply, tokens_in
from attune_trainer.data.synthetic.prompt import digest_of, kind_of, longest_answer, prompt
from attune_trainer.data.synthetic.questions import SOURCE, judged
from attune_trainer.errors import BadConfig, StageError, StoreUnavailable

log = logging.getLogger(__name__)
KEPT_TOGETHER, KEPT_AFTER_SECONDS = 4, 5.0
"""Answers are written to the store when there are so many, or the last were written so long ago."""
REFUSALS_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions as judgements; `facts` for the manifest; `cost_usd`: what this run paid, absent without a price."""

    judgements: tuple[Judgement, ...]
    digest: str
    facts: dict[str, Any]
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Purse:
    """Who asks, where answers are kept, and how often a request is repeated."""

    folder: str
    run: str
    retries: int = RETRIES


def ask_about(
    documents: Sequence[Document], source: SyntheticSource, purse: Purse, tally: Tally, report: Callable[[float], None]
) -> Asked:
    """Questions about `documents`, in their order until the money is spent. `report` gets the share done, 0..1.

    Raises StoreUnavailable (retried) where the model's server does not answer, BadConfig (final) where it refuses all.
    """
    cache = QuestionCache(join(purse.folder, kind_of(source)))
    cache.load()
    names = {document.id: digest_of(document) for document in documents}
    own = [cache.entries[name] for name in dict.fromkeys(names.values()) if name in cache.entries]
    budget = Budget(source, spent=sum(_cost(source, e) for e in own if e.run == purse.run))
    asking = _Asking(source, purse, cache, budget, tally.of(SOURCE), report)
    asking.ask_all([document for document in documents if names[document.id] not in cache.entries])
    cache.tidy()
    answers = {name: cache.entries[digest].answer for name, digest in names.items() if digest in cache.entries}
    used = sorted({names[identifier] for identifier in answers})
    found = judged(answers, documents, source.questions_per_article, tally)
    log.info(
        "synthetic: %d questions about %d articles, %d of them asked about now%s",
        len(found),
        len(answers),
        asking.answered,
        f", {budget.spent:.2f} USD in this run" if source.price else "",
    )
    facts = {
        "model": source.model,
        "prompt": kind_of(source),
        "articles": len(answers),
        "inputTokens": sum(cache.entries[name].input_tokens for name in used),
        "outputTokens": sum(cache.entries[name].output_tokens for name in used),
    }
    words = "".join(f"{name}\0{cache.entries[name].answer}\0" for name in used)
    digest = "sha256:" + hashlib.sha256(words.encode()).hexdigest()
    return Asked(tuple(found), digest, facts, round(budget.spent, 6) if source.price else None)


@dataclass
class Budget:
    """US dollars: what was spent, and what requests under way may cost at most."""

    source: SyntheticSource
    spent: float = 0.0
    reserved: float = 0.0

    def most(self, document: Document) -> float:
        """The most that a request about `document` can cost."""
        count = self.source.questions_per_article
        return _price(self.source, tokens_in(prompt(document, count)), longest_answer(count))

    def allows(self, document: Document) -> bool:
        limit = self.source.max_cost_usd
        return limit is None or self.spent + self.reserved + self.most(document) <= limit


def _cost(source: SyntheticSource, entry: Entry) -> float:
    return _price(source, entry.input_tokens, entry.output_tokens)


def _price(source: SyntheticSource, read: int, written: int) -> float:
    price = source.price
    if price is None:
        return 0.0
    return (read * price.input_per_million_usd + written * price.output_per_million_usd) / 1e6


@dataclass
class _Asking:
    """One run through the articles that the cache does not have."""

    source: SyntheticSource
    purse: Purse
    cache: QuestionCache
    budget: Budget
    tally: Tally
    report: Callable[[float], None]
    answered: int = 0
    _fresh: list[Entry] = field(default_factory=list)
    _kept_at: float = field(default_factory=time.monotonic)
    _refused: int = 0
    _under_way: int = 0

    def ask_all(self, documents: Sequence[Document]) -> None:
        """Returns when every article was asked about, or the money is spent."""
        todo: SimpleQueue[Document | None] = SimpleQueue()
        done: SimpleQueue[tuple[Document, Reply | Exception]] = SimpleQueue()
        chat, left = Chat(self.source, self.purse.retries), deque(documents)
        workers = min(self.source.concurrency, len(documents))
        for _ in range(workers):  # daemons: a process that is told to end does not wait for answers
            threading.Thread(target=_work, args=(chat, todo, done), daemon=True).start()
        try:
            while left or self._under_way:
                while left and self._under_way < workers and self.budget.allows(left[0]):
                    self._under_way += 1
                    self.budget.reserved += self.budget.most(left[0])
                    todo.put(left.popleft())
                if not self._under_way:
                    break
                self._take(*done.get())
                self.report(1 - (len(left) + self._under_way) / len(documents))
        except StoreUnavailable as error:
            self._keep_if_possible()
            raise StoreUnavailable(
                f"{error}; {self.answered} of {len(documents)} articles were answered before and are not asked about again",
                reason=error.reason,
            ) from error
        except BaseException:
            self._keep_if_possible()
            raise
        finally:
            for _ in range(workers):
                todo.put(None)
        self._keep()
        if left:
            self.tally.drop("costLimit", f"{left[0].id}: {self.budget.spent:.4f} USD spent", len(left))

    def _take(self, document: Document, result: Reply | Exception) -> None:
        self._under_way -= 1
        self.budget.reserved -= self.budget.most(document)
        if isinstance(result, Reply):
            entry = Entry(digest_of(document), result.text, result.input_tokens, result.output_tokens, self.purse.run)
            self.budget.spent += _cost(self.source, entry)
            self.answered, self._refused = self.answered + 1, 0
            self._fresh.append(entry)
            if len(self._fresh) >= KEPT_TOGETHER or time.monotonic() - self._kept_at >= KEPT_AFTER_SECONDS:
                self._keep()
        elif isinstance(result, Refused):
            self.tally.drop("refusedByModel", f"{document.id}: {result}")
            self._refused += 1
            nothing_came = not self.answered and not self._under_way and not self.cache.entries
            if self._refused >= max(REFUSALS_IN_A_ROW, self.source.concurrency) or nothing_came:
                raise self._gave_up(result)
        else:
            raise result

    def _gave_up(self, refused: Refused) -> StageError:
        kind = StoreUnavailable if refused.passing else BadConfig
        remedy = "; check that it answers from this pod, its quota, and data.synthetic.concurrency"
        return kind(
            f"data.synthetic.llm {self.source.model} at {self.source.base_url}: {self._refused} requests in a row failed, "
            f"{refused}{remedy if refused.passing else ''}",
            reason="LanguageModelUnavailable" if refused.passing else "LanguageModelRefused",
        )

    def _keep(self) -> None:
        self.cache.add(self._fresh)
        self._fresh, self._kept_at = [], time.monotonic()

    def _keep_if_possible(self) -> None:
        """On the way out: what was answered was paid for."""
        with suppress(StageError):
            self._keep()


def _work(
    chat: Chat, todo: "SimpleQueue[Document | None]", done: "SimpleQueue[tuple[Document, Reply | Exception]]"
) -> None:
    while (document := todo.get()) is not None:
        try:
            result: Reply | Exception = chat.ask(prompt(document, chat.source.questions_per_article))
        except Exception as error:  # carried to the main thread, which knows what to do with it
            result = error
        done.put((document, result))
