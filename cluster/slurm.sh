#!/bin/bash
# A sweep on the nodes of a Slurm job: Ray is started on each of them, the sweep runs on the first, Ray is stopped.
#
# Start:  sbatch cluster/slurm.sh lowdata [--set budget.trials=24 …]     (what follows is handed to `citrus run`)
# Look:   tail -f citrus-JOB.log; citrus run lowdata --status
# End:    scancel -s TERM JOB: trials under way end, what is finished is recorded. The same sbatch goes on.
#
# Needs: a home, or at least the folders below, that all nodes mount at one path; the virtual environment of the project
# active where sbatch is called (or its `citrus` and `ray` on PATH); nodes of its own (--exclusive), as `ray stop` stops every
# Ray of the user on them.
#SBATCH --job-name=citrus
#SBATCH --output=citrus-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -eu
umask "${CITRUS_UMASK:-027}"
export CITRUS_RESULTS=${CITRUS_RESULTS:-$PWD/results}
export RAY_AUTH_MODE=token
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
export RAY_TMPDIR=/tmp/citrus-$SLURM_JOB_ID  # Ray's sockets and logs; its own /tmp/ray is open to all
test $# -ge 1 || { echo "usage: sbatch cluster/slurm.sh SPEC [flags of citrus run]" >&2; exit 2; }

python -m citrus_ray.launch.token
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')
address=${ip:-$head}:$((20000 + SLURM_JOB_ID % 20000))  # jobs side by side have ports of their own

# The folder is this user's alone, and goes with the job. Slurm sends SIGTERM to every process of a step: the sweep
# alone hears it, and ends in order; Ray is stopped after it.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 bash -c '
  trap "" TERM
  mkdir -m 700 "$RAY_TMPDIR" && trap "rm -rf \"$RAY_TMPDIR\"" EXIT
  ray symmetric-run "$@"' bash \
  --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "${SLURM_CPUS_PER_TASK:-1}" \
  -- citrus run "$@" --address "$address"
