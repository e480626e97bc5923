"""Which files an environment is made of: locks, hashes, and the right build of torch."""
