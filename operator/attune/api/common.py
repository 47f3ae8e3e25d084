"""Parts that several kinds share: references to Secrets, language models, resources and placement of Pods."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from attune.api.base import ApiModel
from attune.api.rules import Keys, Rule, Rules, quoted
from attune.api.values import HttpUrl, ObjectName

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "description": "An amount, such as 500m, 2 or 4Gi.",
        }
    ),
    Rules(
        Rule(
            f"type(self) == int ? self >= 0 : self.matches({quoted(_QUANTITY)})",
            "is no amount; write a number with a unit, such as 500m, 2 or 4Gi",
            shown="'\"' + string(self) + '\" is no amount; write a number with a unit, such as 500m, 2 or 4Gi'",
        )
    ),
]
Word = Annotated[str, Field(max_length=253)]
LabelMap = Annotated[dict[str, Word], Field(max_length=64)]
MetricName = Literal[
    "ndcgAt10", "mrrAt10", "recallAt10", "contextPrecision", "contextRecall", "faithfulness", "relevance"
]


class SecretReference(ApiModel):
    """A Secret in the same namespace; its keys become environment variables of the Pods that need it."""

    name: ObjectName = Field(description="Name of a Secret in the same namespace.")


class LanguageModel(ApiModel):
    """A language model behind the OpenAI API, or a server that speaks it (vLLM, Ollama, TEI, a gateway)."""

    base_url: HttpUrl = Field(alias="baseURL", description="Root of the API, e.g. https://api.openai.com/v1.")
    model: str = Field(min_length=1, max_length=256, description="Name of the model, as that server calls it.")
    secret_ref: SecretReference | None = Field(
        None, description="Secret with the key OPENAI_API_KEY; unset: no key is sent."
    )


class ResourceRequirements(ApiModel):
    """As in a Pod: what the container asks for, and what it may use at most."""

    requests: Annotated[dict[str, Quantity], Field(max_length=32)] | None = Field(
        None, description="Amounts to reserve by resource: cpu, memory, nvidia.com/gpu, …"
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=32)] | None = Field(
        None, description="Amounts not to exceed, by resource; GPUs are asked for here."
    )


class Toleration(ApiModel):
    """As in a Pod: a taint of nodes to put up with."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value))",
            "operator Exists takes no value; remove value, or use operator Equal",
            path=".value",
        ),
        Rule(
            "(has(self.operator) && self.operator == 'Exists') || has(self.key)",
            "operator Equal needs a key; add key, or use operator Exists to tolerate every taint",
            path=".key",
        ),
    )

    key: str | None = Field(
        None, max_length=316, description="Key of the taint; unset with operator Exists: every taint."
    )
    operator: Literal["Equal", "Exists"] | None = Field(
        None, description="Equal (default) compares the value, Exists does not."
    )
    value: str | None = Field(None, max_length=63, description="Value of the taint, with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; unset: every effect."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, description="How long a NoExecute taint is put up with; unset: for ever."
    )


FreeForm = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object"}),
    Keys((("x-kubernetes-preserve-unknown-fields", True),)),
]


class Compute(ApiModel):
    """Where and with what the stages of a run are computed. Changes apply from the next stage Job on."""

    engine: Literal["Job", "KubeflowTrainJob"] = Field(
        "Job", description="Job: batch/v1 Jobs. KubeflowTrainJob: a TrainJob of Kubeflow Trainer."
    )
    nodes: int = Field(
        1, ge=1, le=1024, description="Pods that train together; more than one is an Indexed Job with torchrun."
    )
    processes_per_node: int | None = Field(
        None, ge=1, le=64, description="Training processes in a Pod; unset: one for each GPU, or one."
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        description="Image of the stages; unset: the operator's ATTUNE_TRAINER_IMAGE.",
    )
    resources: ResourceRequirements | None = Field(None, description="Resources of the trainer container.")
    queue_name: str | None = Field(
        None,
        min_length=1,
        max_length=63,
        description="Kueue LocalQueue; the Job is then made suspended, and Kueue starts it.",
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the Pods.")
    node_selector: LabelMap | None = Field(None, description="Labels that nodes must have.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] | None = Field(
        None, description="Taints to put up with."
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the Pods.")
    pod_template: FreeForm | None = Field(
        None,
        description="A PodTemplateSpec that goes under ours: what the operator sets wins, containers and volumes "
        "are joined by name.",
    )
