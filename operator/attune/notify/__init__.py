"""Carries notifications to their targets: a bounded outbox, and HTTP requests. Made in `runtime`, fed by `reconcile`."""
