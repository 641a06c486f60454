# What the Orchestrator's token may do, and nothing else: one such block for every namespace that a pool leads to.
#
#   nomad acl policy apply orchestrator policy.hcl
#   nomad acl token create -name=orchestrator -policy=orchestrator -type=client
#
# Nomad before 1.11 knows submit-job only, in place of register-job and deregister-job.
namespace "default" {
  capabilities = [
    "register-job",   # submit
    "deregister-job", # cancel; and end what is overdue
    "read-job",       # how a job stands and how it ended
    "list-jobs",      # what is owed to atlas
    "read-logs",      # the evidence
  ]

  variables {
    # A job's own Variable: the lock on its name, and its secrets as long as it may run. To read is to list.
    path "nomad/jobs/*" {
      capabilities = ["write", "read", "destroy"]
    }
  }
}
