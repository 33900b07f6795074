"""gridadmin: the administrator's command, on the database."""
