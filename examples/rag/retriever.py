"""A LangChain retriever over a Retriever's serving Pods: `/v1/search` finds documents, `/v1/feedback` hears what became of them."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from attune.client import AsyncServing, Serving
from attune.client.serving_calls import Found


class AttuneRetriever(BaseRetriever):
    """`AttuneRetriever(serving=Serving("http://docs-serving")).invoke("how do I rotate a key?")`.

    metadata of a document: id, score, title, publishedAt, and version, the one that found it; feedback names it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    serving: Serving = Field(description="The serving Pods.")
    serving_async: AsyncServing | None = Field(None, description="The same for ainvoke; unset: a thread waits.")
    top_k: int = Field(5, description="Documents to find.")
    filter: dict[str, Any] | None = Field(None, description="Conditions on documents, as /v1/search takes them.")

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:  # noqa: ARG002
        return documents(self.serving.search(query, top_k=self.top_k, filter=self.filter))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.serving_async is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager)
        return documents(await self.serving_async.search(query, top_k=self.top_k, filter=self.filter))

    def feedback(self, query: str, found: list[Document], metric: str, value: float) -> None:
        """What the user thought of the answer that was made of these documents."""
        version = found[0].metadata["version"] if found else None
        self.serving.feedback(query, metric, value, version=version)


def documents(found: Found) -> list[Document]:
    """As LangChain has them."""
    return [
        Document(
            id=hit.id,
            page_content=hit.content or "",
            metadata={
                "id": hit.id,
                "title": hit.title,
                "score": hit.score,
                "publishedAt": hit.published_at,
                "version": found.model,
            },
        )
        for hit in found.hits
    ]
