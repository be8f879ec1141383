"""Units of time: stamps are integer nanoseconds everywhere."""

NS_PER_S = 1_000_000_000
