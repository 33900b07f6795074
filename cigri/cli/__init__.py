"""The commands of the users; they talk to the API through cigri.client only."""
