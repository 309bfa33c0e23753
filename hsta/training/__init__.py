"""Training: data resident on the device, the published recipe, one loop, and scoring. No Ray."""
