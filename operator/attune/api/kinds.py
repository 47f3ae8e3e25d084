"""The table of our kinds: how each is named in the API, in paths and on the command line."""

from dataclasses import dataclass

GROUP = "attune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "attune"
"""`kubectl get attune` lists all kinds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource. All are namespaced and have a status subresource."""

    kind: str
    singular: str
    plural: str
    short_names: tuple[str, ...]
    group: str = GROUP
    version: str = VERSION

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{self.group}"


RETRIEVER = Kind("Retriever", "retriever", "retrievers", ("rtr",))
TRAINING_JOB = Kind("TrainingJob", "trainingjob", "trainingjobs", ("tj",))
MODEL_VERSION = Kind("ModelVersion", "modelversion", "modelversions", ("mv",))
AB_TEST = Kind("ABTest", "abtest", "abtests", ("abt",))
TRAINING_SCHEDULE = Kind("TrainingSchedule", "trainingschedule", "trainingschedules", ("ts",))

KINDS: tuple[Kind, ...] = (RETRIEVER, TRAINING_JOB, MODEL_VERSION, AB_TEST, TRAINING_SCHEDULE)


def kind_named(kind: str) -> Kind:
    """The row of a kind; raises KeyError."""
    return {row.kind: row for row in KINDS}[kind]
