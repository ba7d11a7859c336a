"""What several operators share; each file says who uses it."""
