"""The stages that work on vector stores: index (a collection follows the archive) and retire (delete what is not kept)."""
