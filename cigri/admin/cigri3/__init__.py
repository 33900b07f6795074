"""gridadmin import-cigri3: a grid of CiGri 3 goes on here."""
