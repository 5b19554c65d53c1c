"""Watch a server: startup phases, readiness, progress, stalls, telemetry."""
