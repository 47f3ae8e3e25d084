"""Attune: a Kubernetes operator that keeps the retrieval models of RAG systems sharp."""

__version__ = "0.1.0"
