"""Run one job on a compute node: start the engine, watch its startup, send the load, tear down."""
