"""One small module for each service: from a message to a call and back, and nothing else."""
