"""Floor 1: instruments on wires. A library that knows nothing of the floors above it."""
