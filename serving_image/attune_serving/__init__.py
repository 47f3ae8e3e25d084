"""The server that RAG applications call: embeddings, reranking, search, with versions that switch under traffic. No torch."""
