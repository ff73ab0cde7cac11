"""What a plan costs before it runs: hours, wall time, disk and money, each as a range with its source."""
