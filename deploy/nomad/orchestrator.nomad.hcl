# The Orchestrator as a Nomad job, in a namespace of its own. docs/nomad.md has the steps from nothing to a first request.
#
#   nomad job run -namespace orchestrator -var image=registry.example/orchestrator:1.0.0 -var config=orchestrator.yaml \
#     -var nomad_ca=nomad-agent-ca.pem deploy/nomad/orchestrator.nomad.hcl
#
# Nomad 1.7 or newer, its docker driver, and an image made by deploy/Dockerfile.

variable "image" {
  description = "Where your registry has the image that deploy/Dockerfile makes."
  type        = string
}

variable "config" {
  description = "The configuration: a file on the host that runs this command. Keys belong into the job's Variable."
  type        = string
  default     = "orchestrator.yaml"
}

variable "nomad_ca" {
  description = "The authority of Nomad's certificates, in PEM: a file here. Empty: one that the image knows."
  type        = string
  default     = ""
}

variable "replicas" {
  description = "How many to run. One tracker leads, the others wait."
  type        = number
  default     = 2
}

locals {
  # The only one: Nomad evaluates locals in any order, and a `try` in one takes another for missing.
  given = yamldecode(file(var.config))
}

job "orchestrator" {
  type        = "service"
  datacenters = ["*"]

  # One new replica starts beside the old ones. If it is ready, they are replaced one after the other; if it is not, the
  # job is set back at once. Between the end of the runner and that of the functions their check is gone, which Nomad
  # takes for health: so min_healthy_time is longer than shutdown_delay.
  update {
    canary            = 1
    auto_promote      = true
    auto_revert       = true
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "10s"
    healthy_deadline  = "3m"
    progress_deadline = "0"
  }

  group "orchestrator" {
    count = var.replicas

    # Not a constraint: on a cluster of one node, both run there.
    spread {
      attribute = "${node.unique.id}"
    }

    network {
      port "http" {}
    }

    # A replica that keeps ending fails, which ends an update. Otherwise it is placed again, for ever.
    restart {
      attempts = 2
      interval = "1m"
      delay    = "5s"
      mode     = "fail"
    }

    reschedule {
      delay          = "15s"
      delay_function = "constant"
      unlimited      = true
    }

    # The pool and the tracker. A prestart sidecar starts before the other tasks, and is stopped after them.
    task "runner" {
      driver       = "docker"
      kill_timeout = "20s"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image = var.image
        args  = ["serve"]
        # The agent of the same node is at 127.0.0.1:4646, for which its certificate is valid.
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      # The job's own token for Nomad, at /secrets/nomad_token: no token is created, kept or renewed by hand. What it may
      # do is in deploy/nomad/policy.hcl, applied with `-namespace orchestrator -job orchestrator`.
      identity {
        file = true
      }

      env {
        ORCHESTRATOR_CONFIG = "/local/orchestrator.yaml"
      }

      # JSON is YAML. In JSON there is no `<`, so nothing in the configuration is taken for a template.
      template {
        data = jsonencode(merge(local.given, {
          driver = try(local.given.driver, "nomad")
          nomad = merge(
            { tokenFile = "/secrets/nomad_token" },
            { for _ in compact([var.nomad_ca]) : "caFile" => "/local/nomad-ca.pem" },
            try(local.given.nomad, {}),
          )
          sidecar = merge(try(local.given.sidecar, {}), { socket = "/alloc/tmp/runner.sock" })
        }))
        destination     = "local/orchestrator.yaml"
        left_delimiter  = "<<"
        right_delimiter = ">>"
      }

      dynamic "template" {
        for_each = compact([var.nomad_ca])
        content {
          data        = file(template.value)
          destination = "local/nomad-ca.pem"
        }
      }

      # The keys: each item of the job's Variable, named as in docs/configuration.md. A changed one is read by
      # `nomad job restart`, one replica after the other; Nomad itself would restart all at once.
      template {
        data        = <<-KEYS
          {{ with nomadVar "nomad/jobs/orchestrator" }}{{ range $name, $item := . }}
          {{ $name }}={{ $item.Value | toJSON }}
          {{ end }}{{ end }}
        KEYS
        destination = "secrets/keys.env"
        env         = true
        change_mode = "noop"
        perms       = "400"
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }

    # HTTP. It has neither keys nor a token for Nomad.
    task "functions" {
      driver = "docker"

      # It still serves for 5 s after it has left the service, then finishes the requests in flight. A node allows no more
      # than its max_kill_timeout, 30 s by default.
      shutdown_delay = "5s"
      kill_timeout   = "30s"

      config {
        image           = var.image
        entrypoint      = ["gunicorn", "-c", "gunicorn.conf.py", "functions.bundle:app"]
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      env {
        # The escaped variable is Nomad's own, which is known on the node only.
        ORCHESTRATOR_HTTP      = jsonencode(merge(try(local.given.http, {}), { bind = "$${NOMAD_ADDR_http}" }))
        ORCHESTRATOR_SOCKET    = "/alloc/tmp/runner.sock"
        ORCHESTRATOR_LOG_LEVEL = upper(try(local.given.log.level, "info"))
      }

      service {
        name     = "orchestrator"
        provider = "nomad"
        port     = "http"

        check {
          type     = "http"
          path     = "/readyz"
          interval = "5s"
          timeout  = "3s"
        }
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
