"""The REST API server."""
