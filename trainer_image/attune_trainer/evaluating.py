"""The evaluate stage from the opened contenders on: compare, ask the judge, look for forgetting, write the report. Called by `stages`."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from attune.contract import EvaluationSummary, GeneralMetrics, Stage
from attune.contract.layout import join
from attune_retrieval import manifest
from attune_retrieval.encoding import Encoder
from attune_trainer.evaluate import general
from attune_trainer.evaluate.compare import Contenders, Parts, compare
from attune_trainer.evaluate.comparison import Beyond, Comparison, rounded, summarised
from attune_trainer.evaluate.heldout import read_snapshot
from attune_trainer.evaluate.judged_before import JudgedBefore
from attune_trainer.evaluate.judging import Sitting, judged
from attune_trainer.evaluate.reranking import Rerankers, compare_rerankers
from attune_trainer.report.files import Exported, published
from attune_trainer.stage_work import Outcome, Work, evaluated_message, fetched, judgements_uri, target_of

UNTOUCHED = "the candidate is the base model itself"
OF_RERANKERS = "it is a set for embedding models"


def embedding(work: Work, contenders: Contenders, snapshot: Path) -> Outcome:
    """An embedding model, from its exported files."""
    contenders = replace(contenders, base=cache(contenders.base))
    config, seed = work.spec.evaluation, work.spec.config.seed
    compared = compare(contenders, read_snapshot(snapshot), config, seed=seed, report=_within(work, 0, 60))
    beyond = _asked(work, compared, lambda: contenders.base_encoder)
    if contenders.candidate.is_import_of(contenders.base_name):
        return _told(work, compared, _without_general(beyond, UNTOUCHED))
    return _told(work, compared, replace(beyond, general=_general(work, contenders)))


def reranker(work: Work, contenders: Rerankers, snapshot: Path) -> Outcome:
    """A reranker, on the candidates of the first stage."""
    config, seed = work.spec.evaluation, work.spec.config.seed
    compared = compare_rerankers(contenders, read_snapshot(snapshot), config, seed=seed, report=_within(work, 0, 75))
    beyond = _asked(work, compared, lambda: contenders.first_stage)
    return _told(work, compared, _without_general(beyond, OF_RERANKERS))


def _within(work: Work, start: float, end: float) -> Parts:
    """Parts of a part: 0..100 becomes start..end percent of the stage."""
    width = (end - start) / 100
    return lambda low, high: work.reporter.part(start + low * width, start + high * width)


def _asked(work: Work, compared: Comparison, encoder: Callable[[], Encoder | None]) -> Beyond:
    """What the judge says, where there is one. SIGTERM ends it between two answers."""
    spec = work.spec
    if spec.judge is None:
        return Beyond()
    if spec.evaluation.judged_queries == 0:
        why = "evaluation.judgedQueries is 0"
        return Beyond(not_measured={"faithfulness": why, "relevance": why})
    with work.termination.defer():
        return judged(
            compared,
            Sitting(
                spec.judge,
                encoder(),
                queries=spec.evaluation.judged_queries,
                seed=spec.config.seed,
                resamples=spec.evaluation.resamples,
                check=work.termination.check,
                advance=work.reporter.part(75, 97),
                before=JudgedBefore(judgements_uri(spec), spec.digest()),
            ),
        )


def _general(work: Work, contenders: Contenders) -> GeneralMetrics:
    """Candidate, active version and base model on texts that have nothing to do with the data."""
    spec = work.spec
    chosen = general.opened(spec.evaluation.general, spec.config.seed, work.scratch / "general")
    asked = contenders.on(chosen.held_out, k=spec.evaluation.k, report=_within(work, 60, 75))
    options = {"resamples": spec.evaluation.resamples, "seed": spec.config.seed}
    found = general.compared(
        chosen, asked.candidate.alone, asked.base.alone, asked.active.alone if asked.active else None, **options
    )
    return found.model_copy(update={"interval": rounded(found.interval)})


def _without_general(beyond: Beyond, why: str) -> Beyond:
    return replace(beyond, not_measured={**beyond.not_measured, "general": why})


def _told(work: Work, compared: Comparison, beyond: Beyond) -> Outcome:
    """The summary for the operator, and the report in the store beside the result."""
    spec, target = work.spec, target_of(work.spec)
    summary = summarised(compared, beyond, spec.evaluation)
    here = work.scratch / "candidate"  # where the stage has put it, if it was not here already
    folder = here if (here / manifest.NAME).is_file() else fetched(target, here)
    exported = Exported(folder, manifest.read(folder))
    place = join(work.layout.run(spec.owner.name, spec.owner.uid), Stage.EVALUATE.value)
    report = published(spec, exported, compared, summary, place)
    work.reporter.update(100)
    evaluation = EvaluationSummary(metrics=summary.metrics, not_measured=summary.not_measured, report=report)
    return {"message": f"{evaluated_message(summary.metrics)} Report: {report.page}", "evaluation": evaluation}
