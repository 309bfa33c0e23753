"""Where the workflows run: a cluster of hosts on one machine (`cluster.local`), Kubernetes, and a cloud's machines."""
