"""Local mode: an embedded PostgreSQL and minioar, a small OAR3-compatible cluster."""
