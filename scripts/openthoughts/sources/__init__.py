"""Questions of sources and benchmarks: each connector reads one kind of place."""
