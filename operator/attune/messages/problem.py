"""Errors of the REST API: problem details of RFC 9457, with a word for programs and the fields they are about."""

from pydantic import Field

from attune.contract import Contract

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:attune:problem:"


class FieldProblem(Contract):
    """What is wrong with one field."""

    field: str = Field(
        description="Path of the field in the body, or name of the parameter, e.g. hyperparameters.epochs."
    )
    message: str = Field(description="What is wrong with it, and what is allowed.")


class Problem(Contract):
    """Problem details (RFC 9457)."""

    type: str = Field(description=f"{PREFIX}REASON.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(ge=400, le=599, description="The HTTP status.")
    detail: str = Field(description="What is wrong, with names, values and the way out.")
    instance: str = Field(description="Path of the request.")
    reason: str = Field(description="One CamelCase word for programs: NotPromotable, Forbidden, Invalid, …")
    field: str | None = Field(None, description="The field or parameter it is about, where it is about one.")
    errors: tuple[FieldProblem, ...] | None = Field(None, description="All fields that are wrong.")
    request_id: str | None = Field(None, description="The same as in the header X-Request-ID, and in the log.")
