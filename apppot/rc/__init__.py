"""What runs in the guest at start."""
