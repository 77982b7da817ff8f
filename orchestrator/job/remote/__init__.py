"""What is done where a cluster's commands and shared directory are: in this process, or on the other side of ssh.

Operations take and return JSON values, import nothing of orch but `checkpoints`, and run on Python 3.9 without anything
installed.
"""
