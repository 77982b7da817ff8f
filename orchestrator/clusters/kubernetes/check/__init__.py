"""A Kubernetes cluster: `asking` puts the questions to its API server, everything else is pure."""
