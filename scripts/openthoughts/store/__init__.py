"""Every answer ever received, leases, budget."""
