"""The public Python API, which `import hpcsweep` exposes (docs/api.md). The commands use the same functions."""
