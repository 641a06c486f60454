# The minimal permissions of the Orchestrator's token. Add one such block for every namespace that a pool uses.
#
#   nomad acl policy apply orchestrator policy.hcl
#   nomad acl token create -name=orchestrator -policy=orchestrator -type=client
#
# Nomad before 1.11 has only submit-job, in place of register-job and deregister-job.
namespace "default" {
  capabilities = [
    "register-job",   # submit a job
    "deregister-job", # cancel a job, or end a job that is overdue
    "read-job",       # a job's state and how it ended, and the event stream
    "list-jobs",      # all jobs, to find those to report to atlas
    "read-logs",      # for the command `jobs logs`, and for the cause of a failure
  ]

  variables {
    # A job's own Variable: the lock on its name, and its secrets while it may run. Reading includes listing.
    path "nomad/jobs/*" {
      capabilities = ["write", "read", "destroy"]
    }

    # Which tracker leads. Only the namespace of the default pool needs it.
    path "orchestrator/tracker" {
      capabilities = ["write", "read"]
    }
  }
}
