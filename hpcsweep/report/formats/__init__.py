"""Report formats: one file each, registered in `registry.py`."""
