"""The node: listeners, connections, sessions, and one small handler for each service."""
