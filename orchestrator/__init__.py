"""A Ray-distributed benchmark orchestrator: is one loss really better than another?"""
