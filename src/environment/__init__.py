"""What a node offers, as services."""
