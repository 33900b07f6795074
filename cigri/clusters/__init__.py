"""Batch-scheduler clients; they know no database."""
