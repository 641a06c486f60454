"""Where the API server is and how to authenticate: from a kubeconfig, as kubectl reads it, or from a pod's files.

In here: reading, the credential plugin, impersonation. Not in here: when it is read again, and requests (`..api`).
"""

from runner.drivers.kubernetes.credentials.access import Access, check_kubeconfig, read_access

__all__ = ["Access", "check_kubeconfig", "read_access"]
