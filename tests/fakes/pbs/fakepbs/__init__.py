"""A stand-in for OpenPBS on one machine: the commands answer as the recorded server did, jobs are real processes."""
