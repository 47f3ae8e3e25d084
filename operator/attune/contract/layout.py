"""Where things lie in the artifact store. The only place that builds these paths."""

from dataclasses import dataclass


def join(root: str, *parts: str) -> str:
    """Join URI parts with single slashes; `root` may be any of file://, pvc://, s3://, gs://."""
    return "/".join([root.rstrip("/"), *(part.strip("/") for part in parts)])


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under a Retriever's `storage.uri`; two Retrievers may share one storage root."""

    root: str
    namespace: str
    retriever: str

    @property
    def home(self) -> str:
        return join(self.root, self.namespace, self.retriever)

    @property
    def datasets(self) -> str:
        """Snapshots, one folder each, named by the first 16 hex digits of their digest."""
        return join(self.home, "datasets")

    @property
    def synthetic(self) -> str:
        """Questions that a language model asked about articles, kept so that none is paid for twice."""
        return join(self.home, "synthetic")

    def run(self, owner: str, uid: str) -> str:
        """Working folder of one TrainingJob or import: checkpoints and `<stage>/result.json`."""
        return join(self.home, "runs", f"{owner}-{uid[:8]}")

    @property
    def index(self) -> str:
        """Folder of the collections, where the index is LanceDB without a place of its own."""
        return join(self.home, "index")

    def version(self, name: str) -> str:
        """The artifact folder of one ModelVersion."""
        return join(self.home, "versions", name)
