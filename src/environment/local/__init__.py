"""The services done here, with the engine."""
