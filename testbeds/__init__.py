"""Clusters for tests, each a pytest plug-in: Slurm, hosts behind ssh, Kubernetes. README.md says how to use them."""


class Unavailable(Exception):
    """This machine cannot have the test bed; the message says why."""
