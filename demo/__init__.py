"""`make demo`: from `kubectl apply` to a staged model, on this machine."""
