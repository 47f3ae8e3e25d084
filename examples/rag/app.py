"""Asks a question: finds passages, has a language model answer from them, and sends back whether the answer was accepted.

python examples/rag/app.py --serving http://docs-serving "how do I rotate a key?"
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from attune.client import ClientError, Serving

sys.path.insert(0, str(Path(__file__).parent))
from retriever import AttuneRetriever

METRIC = "answerAccepted"
PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            "Answer from the passages alone; say so if they do not answer. Name the ids of those you used.\n\n{passages}",
        ),
        ("user", "{question}"),
    ]
)


@dataclass(frozen=True)
class Answer:
    """What was answered, and from what."""

    question: str
    text: str
    passages: list[Document]


class Application:
    """Retrieval, then generation; `accepted` hears of the user."""

    def __init__(self, retriever: AttuneRetriever, model: Runnable | None = None) -> None:
        self._retriever = retriever
        self._generate = PROMPT | model if model is not None else RunnableLambda(best_passage)

    def ask(self, question: str) -> Answer:
        """One question."""
        passages = self._retriever.invoke(question)
        if not passages:
            return Answer(question, "nothing was found", [])
        said = self._generate.invoke({"question": question, "passages": shown(passages)})
        return Answer(question, str(getattr(said, "content", said)), passages)

    def accepted(self, answer: Answer, yes: bool) -> None:
        """Counts for the version that found the passages; of a test that compares this metric, for its arm."""
        if answer.passages:
            self._retriever.feedback(answer.question, answer.passages, METRIC, float(yes))


def shown(passages: list[Document]) -> str:
    """For the prompt."""
    return "\n\n".join(f"[{p.metadata['id']}] {p.metadata['title'] or ''}\n{p.page_content}" for p in passages)


def best_passage(given: dict[str, str]) -> str:
    """Without a language model: the first passage."""
    return given["passages"].split("\n\n", 1)[0]


def language_model(url: str, name: str) -> Runnable:
    """Behind OpenAI's API."""
    from langchain_openai import ChatOpenAI  # only where it is asked for

    return ChatOpenAI(base_url=url, model=name)


def main(arguments: list[str] | None = None, ask_user: Callable[[str], str] = input) -> int:
    """One question from the command line."""
    parser = argparse.ArgumentParser(description="A RAG application over Attune.")
    parser.add_argument("question")
    parser.add_argument("--serving", required=True, help="address of a Retriever's Service, e.g. http://docs-serving")
    parser.add_argument(
        "--llm", help="root of a server that speaks OpenAI's API; unset: the best passage is the answer"
    )
    parser.add_argument("--model", help="model there")
    parser.add_argument("-k", "--top-k", type=int, default=4)
    options = parser.parse_args(arguments)
    if options.llm and not options.model:
        parser.error("--llm needs --model, the name of the model there")
    model = language_model(options.llm, options.model) if options.llm else None
    try:
        with Serving(options.serving) as serving:
            application = Application(AttuneRetriever(serving=serving, top_k=options.top_k), model)
            answer = application.ask(options.question)
            print(answer.text)  # noqa: T201
            for passage in answer.passages:
                print(f"  {passage.metadata['score']:.3f}  {passage.metadata['id']}  {passage.metadata['title']}")  # noqa: T201
            if answer.passages:
                application.accepted(answer, ask_user("Did that answer the question? [y/n] ").strip().lower() == "y")
    except ClientError as error:
        print(f"no answer: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
