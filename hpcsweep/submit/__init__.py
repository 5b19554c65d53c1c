"""Submit sweeps: scheduler x host, here or over SSH."""
