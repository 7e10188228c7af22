"""Pure data and decisions: what a child may have and see."""
