"""L5: scheduler x host: submit, track, cancel. submitit lives here, and only here."""
