"""What is shown of stored objects, as plain values: pure functions that the command line and the REST API share."""
