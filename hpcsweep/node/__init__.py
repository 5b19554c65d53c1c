"""N3: the job's side: start the engine, watch its startup, send the load, tear down."""
