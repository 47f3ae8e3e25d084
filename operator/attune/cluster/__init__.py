"""The only code that talks to the API server: observe, apply, report, the Lease and events."""
