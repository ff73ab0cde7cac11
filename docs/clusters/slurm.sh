#!/bin/bash
# A launch on Slurm, submitted from the checkout: sbatch docs/clusters/slurm.sh FILE.yaml [OPTION…]
# Near its time limit, when preempted, or after `scancel --batch --signal=TERM JOB` it queues again, and then goes on.
#SBATCH --job-name=orchestrator
#SBATCH --nodes=2                     # <-
#SBATCH --cpus-per-task=16            # <- a node's cores
#SBATCH --gpus-per-node=4             # <- remove this line where nodes have no GPUs, or Slurm knows none (no GRES)
#SBATCH --time=24:00:00               # <-
#SBATCH --signal=B:TERM@120           # seconds before its time is up in which running cells save their state
#SBATCH --requeue --open-mode=append
#SBATCH --exclusive --mem=0           # nodes whole, with all of their memory
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill                     # without a node that falls, the others go on
set -euo pipefail

export PATH=$PWD/.venv/bin:$PATH
# On each node's own disk: decoded images; and Ray's files, whose sockets need a short path.
own=/tmp/orchestrator-$UID
export ORCHESTRATOR_CACHE=${ORCHESTRATOR_CACHE:-$own/decoded} RAY_TMPDIR=$own/ray

# Without a token, anyone who reaches the nodes could run code in your name. It lies in the home folder, for all nodes.
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate > /dev/null)
chmod 600 ~/.ray/auth_token

# The address that this node has on the network; /etc/hosts may give its name the address 127.0.1.1.
address=$({ getent ahostsv4 "$(hostname)" || true; hostname -I | xargs -n 1; } | awk '!/^127\./ && !found++ { print $1 }')

# Slurm sends SIGTERM to all processes at once. Ray must live on until the cells have saved their state.
start_ray() {
  ray stop --force > /dev/null # what a job that was killed has left on this node
  rm -rf "$RAY_TMPDIR"
  mkdir -p "$RAY_TMPDIR"
  chmod 700 "${RAY_TMPDIR%/*}"
  env --block-signal=TERM,INT ray start --num-cpus="$SLURM_CPUS_PER_TASK" "$@"
}
# On the other nodes, which try again where Ray was slow to start, or ended. A signal for them, as of a preemption, is
# passed on to this script.
# shellcheck disable=SC2329 # srun calls it
join_ray() {
  trap 'scancel --batch --signal=TERM "$SLURM_JOB_ID" || true' TERM INT
  (
    trap '' TERM INT
    until start_ray --address="$address:6379" --block; do sleep 5; done
  ) &
  until wait; do :; done
}
export -f start_ray join_ray
export address

start_head() { start_ray --head --node-ip-address="$address" --port=6379; }
start_head || start_head # once more, as a busy node may take longer than Ray waits
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  others=$((SLURM_JOB_NUM_NODES - 1))
  srun --relative=1 --nodes="$others" --ntasks="$others" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    --no-kill --kill-on-bad-exit=0 --export=ALL bash -ec join_ray &
fi

env --block-signal=TERM,INT python -m orchestrator launch "$@" --address "$address:6379" &
launch=$!
stopped=
trap 'stopped=yes; trap "" TERM INT; kill -HUP "$launch" || true' TERM INT # once: a second signal would stop it at once
code=0
wait "$launch" || code=$?
if [ "$stopped" ]; then
  code=0
  wait "$launch" || code=$?
fi

scancel --signal=KILL "$SLURM_JOB_ID.0" 2> /dev/null || true # Ray on the other nodes, and here
ray stop --force > /dev/null || true
# After a plain scancel the job is no longer RUNNING, and ends here.
if [ "$stopped" ] && [ "$code" -gt 128 ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
