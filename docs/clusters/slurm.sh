#!/bin/bash
# A launch on Slurm, submitted from the checkout: sbatch docs/clusters/slurm.sh FILE.yaml [OPTION…]
# A grid longer than a job may last, as up to nine jobs one after the other: sbatch --array=1-9%1 …
#SBATCH --job-name=orchestrator
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
set -euo pipefail

export PATH=$PWD/.venv/bin:$PATH

# Without a token, anyone who reaches the nodes could run code in your name. It lies in the home folder, for all nodes.
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null

export ORCHESTRATOR_CACHE=${ORCHESTRATOR_CACHE:-/tmp/orchestrator-$(id -un)} # decoded images: on each node's own disk
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600                           # seconds for the slowest node to come

# This name must mean, on every node, the address that the first one has on the network.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

exec srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
  python -m orchestrator launch "$@" --address auto
