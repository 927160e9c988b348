"""What runs on the cluster: engines, verifiers and the pool that places them."""
