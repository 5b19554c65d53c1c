"""The load client: schedule, senders, send loop, records of samples."""
