"""Where cells run: in this process, or on a Ray cluster."""

import os

# Ray reads these when it is imported, so they are set before any module here imports it: no telemetry, no loggers
# and progress output of Tune's own, workers stay in the directory they were started in, and Ctrl-C reaches this
# program.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # snapshots grow with every trial, and are never read
}
