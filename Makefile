.PHONY: demo test check services

demo:  ## twelve configurations on this machine, and their report
	scripts/demo

test:  ## environment, checks, tests
	scripts/test

check:  ## format, lint, types, layers
	scripts/venv test
	scripts/check

services:  ## a real Slurm, sshd and vLLM for the tests; prints what to export
	scripts/test-services start all
