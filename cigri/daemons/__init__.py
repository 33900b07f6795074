"""The Unix processes of the grid: transactions and order of work."""
