#!/bin/bash
# No scheduler: the dispatcher on this machine runs this script once per element.
# gpu_smoke-0001, job 0: 1 element. Written by hpcsweep 0.1.0.
# By hand: HPCSWEEP_ARRAY_INDEX=0 bash job.sh

set -u

# What this job is; the agent reads everything else from job.json in this folder.
export HPCSWEEP_JOB_DIR=/scratch/hpcsweep/sweeps/gpu_smoke-0001/jobs/0
export HPCSWEEP_ARRAY_INDEX="${HPCSWEEP_ARRAY_INDEX:-0}"

# The values of the axes: HPCSWEEP_AXIS_*, and EXP_NAME, ENFORCE_EAGER, ENABLE_EP, MAX_MODEL_LEN.
if [ -r "$HPCSWEEP_JOB_DIR/elements/$HPCSWEEP_ARRAY_INDEX.env" ]; then
    . "$HPCSWEEP_JOB_DIR/elements/$HPCSWEEP_ARRAY_INDEX.env"
fi


# exec: the agent itself is what the scheduler's signals reach.
exec /opt/vllm/bin/python3 -m hpcsweep.node.agent "$HPCSWEEP_JOB_DIR" --index "$HPCSWEEP_ARRAY_INDEX"
