"""How people are told: the words of the messages, and the ways on which these leave."""
