"""JSON of the REST API: what callers send and what they get. `attune.rest` answers with these, `attune.client` reads them.

Imports `api` and `contract` and nothing else of Attune, so that the client needs pydantic alone.
"""
