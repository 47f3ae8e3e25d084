"""The trainer image: prepare, train, evaluate, export. Reads a StageSpec, writes artifacts and a StageResult."""
