"""Templates of job scripts and reports, shipped as `hpcsweep.templates`."""
