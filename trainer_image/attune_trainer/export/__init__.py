"""The artifact of a version: ONNX graph, weights, tokenizer, golden vectors and a manifest of digests."""
