"""What the API shows: read queries, each bounded by what it returns and not by the size of a campaign."""
