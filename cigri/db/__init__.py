"""SQL: every function takes a session and never commits."""
