{{- /* The name of all objects. */ -}}
{{- define "orchestrator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "orchestrator.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "orchestrator.labels" -}}
{{ include "orchestrator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "orchestrator.account" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "orchestrator.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "orchestrator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The configuration as YAML: the user's, with what it does not say. */ -}}
{{- define "orchestrator.config" -}}
{{- $defaults := dict
  "driver" "kubernetes"
  "kubernetes" (dict "namespace" .Release.Namespace)
  "http" (dict "bind" "0.0.0.0:8080")
  "grpc" (dict "bind" "0.0.0.0:50051")
  "rabbitmq" (dict "healthFile" "/run/orchestrator/amqp.ready")
  "sidecar" (dict "socket" "/run/orchestrator/runner.sock")
  "protocols" (list "http")
-}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $defaults "metrics" (dict "bind" (printf "0.0.0.0:%d" (int .Values.metrics.port))) -}}
{{- end -}}
{{- mustMergeOverwrite $defaults (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{- /* The namespace of each pool whose jobs run on Kubernetes, as YAML. */ -}}
{{- define "orchestrator.poolNamespaces" -}}
{{- $config := include "orchestrator.config" . | fromYaml -}}
{{- $pools := merge (dict (default "default" $config.defaultPool) dict) (default dict $config.pools) -}}
{{- $found := dict -}}
{{- range $name := keys $pools -}}
{{- $pool := default dict (get (default dict $config.pools) $name) -}}
{{- if eq (default $config.driver $pool.driver) "kubernetes" -}}
{{- $_ := set $found $name (default $config.kubernetes.namespace $pool.namespace) -}}
{{- end -}}
{{- end -}}
{{- $found | toYaml -}}
{{- end -}}

{{- /* The HTTP paths of each function. A test compares them with runner/request_types.py. */ -}}
{{- define "orchestrator.paths" -}}
analysis: [/tasks/analysis]
autofix: [/tasks/autofix]
transformer: [/tasks/transformer, /tasks/transforer]
ssh-verify: [/tasks/ssh-verify, /tasks/ssh_verify, /tasks/sshverify]
cancel-check: [/tasks/cancel-check, /tasks/cancel_check, /tasks/cancelcheck]
commit: [/tasks/commit, /tasks/patcher]
{{- end -}}

{{- /*
The Deployments of the functions, as YAML: name -> the WSGI application (http), and whether gRPC and RabbitMQ are served.
Separate ones come with one for all functions: it serves what no path distinguishes (/apps/{app_id}/…, /openapi.json).
*/ -}}
{{- define "orchestrator.deployments" -}}
{{- $config := include "orchestrator.config" . | fromYaml -}}
{{- $all := dict -}}
{{- $protocols := $config.protocols -}}
{{- if not .Values.functions.separate -}}
{{- $one := dict "grpc" (has "grpc" $protocols) "amqp" (has "amqp" $protocols) -}}
{{- if has "http" $protocols -}}{{- $_ := set $one "http" "functions.bundle:app" -}}{{- end -}}
{{- $_ := set $all "functions" $one -}}
{{- else -}}
{{- if has "http" $protocols -}}
{{- $_ := set $all "functions" (dict "http" "functions.bundle:app") -}}
{{- range $name, $paths := include "orchestrator.paths" . | fromYaml -}}
{{- $_ := set $all $name (dict "http" (printf "functions.%s:app" (replace "-" "_" $name))) -}}
{{- end -}}
{{- end -}}
{{- range $protocol := list "grpc" "amqp" -}}
{{- if has $protocol $protocols -}}{{- $_ := set $all $protocol (dict $protocol true) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toYaml -}}
{{- end -}}

{{- /* Whether the tracker is a Deployment of its own: "true" or empty. */ -}}
{{- define "orchestrator.trackerApart" -}}
{{- if or .Values.tracker.separate .Values.functions.separate -}}true{{- end -}}
{{- end -}}

{{- /* The port of a `host:port`. */ -}}
{{- define "orchestrator.port" -}}
{{- splitList ":" . | last -}}
{{- end -}}

{{- /* The name of a Deployment's objects. Takes (list root name). */ -}}
{{- define "orchestrator.componentName" -}}
{{- $name := include "orchestrator.fullname" (index . 0) -}}
{{- if eq (index . 1) "functions" -}}{{ $name }}{{- else -}}{{ $name }}-{{ index . 1 }}{{- end -}}
{{- end -}}

{{- /* What cannot work is said before anything is changed. */ -}}
{{- define "orchestrator.check" -}}
{{- range $key := list "runner.privateKey" "sentry.dsn" -}}
{{- $at := splitList "." $key -}}
{{- if get (default dict (get $.Values.config (first $at))) (last $at) -}}
{{- fail (printf "config.%s is a secret, and config becomes an annotation of the pods: put it into the Secret that existingSecret names" $key) -}}
{{- end -}}
{{- end -}}
{{- $config := include "orchestrator.config" . | fromYaml -}}
{{- range $section := list "http" "grpc" -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" (get $config $section).bind -}}
{{- fail (printf "config.%s.bind is a loopback address, which no Service reaches: remove it, or bind to 0.0.0.0" $section) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled without gateway.parentRefs creates routes of no Gateway: name one in gateway.parentRefs" -}}
{{- end -}}
{{- $namespaces := include "orchestrator.poolNamespaces" . | fromYaml -}}
{{- range $pool, $rules := .Values.jobEgress -}}
{{- $namespace := get $namespaces $pool -}}
{{- if not $namespace -}}
{{- fail (printf "jobEgress.%s names a pool without jobs on Kubernetes: add it to config.pools, or remove the policy" $pool) -}}
{{- end -}}
{{- range $other, $itsNamespace := $namespaces -}}
{{- if and (ne $other $pool) (eq $itsNamespace $namespace) -}}
{{- fail (printf "jobEgress.%s would hold for the pool %s too, whose jobs are in the same namespace %s: give the pool a namespace of its own" $pool $other $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
