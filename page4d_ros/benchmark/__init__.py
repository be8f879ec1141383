"""Times and memory: the product against the published way of running the network."""
