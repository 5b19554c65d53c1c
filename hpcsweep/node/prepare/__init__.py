"""Execute the preparations of a sweep: commands that run once, or a warm-up of the compile cache."""
