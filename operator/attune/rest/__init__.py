"""The REST API: custom resources over HTTP, for callers that have no kubectl. A process of its own, without any state of its own.

Every request is made in the name of its caller: nothing is read or written that the caller could not read or write with kubectl.
"""
