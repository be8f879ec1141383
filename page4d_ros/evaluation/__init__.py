"""How well a recording of the node's outputs agrees with the truth, in numbers and in a report."""
