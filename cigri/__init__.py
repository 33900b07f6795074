"""CiGri: a lightweight grid that feeds campaigns of tasks to OAR clusters as best-effort jobs."""

__version__ = "4.0.0.dev0"
