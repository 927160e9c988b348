"""Where compute pays: pure functions of rewards, labels and counts. It imports numpy, and asks no model."""
