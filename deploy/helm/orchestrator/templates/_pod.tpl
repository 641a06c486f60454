{{- define "orchestrator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* What all containers have. */ -}}
{{- define "orchestrator.container" -}}
image: {{ include "orchestrator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "orchestrator.securityContext" . | nindent 2 }}
{{- end -}}


{{- /*
Variables from the Secret, and the user's. Takes root, keys (of the runner), broker (RabbitMQ's). A key that is missing is
left to check-config, which names all problems at once.
*/ -}}
{{- define "orchestrator.env" -}}
{{- $names := list -}}
{{- if .keys -}}{{- $names = list "ORCHESTRATOR_PRIVATE_KEY" "ORCHESTRATOR_PUBLIC_KEY" "ORCHESTRATOR_SENTRY_DSN" -}}{{- end -}}
{{- if .broker -}}{{- $names = concat $names (list "ORCHESTRATOR_AMQP_URL" "ORCHESTRATOR_AMQP_USERNAME" "ORCHESTRATOR_AMQP_PASSWORD") -}}{{- end -}}
{{- range $name := $names }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $.root.Values.existingSecret }}, key: {{ $name }}, optional: true}}
{{- end }}
{{- if .keys }}
- {name: ORCHESTRATOR_CONFIG, value: /etc/orchestrator/orchestrator.yaml}
{{- end }}
{{- with .root.Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The socket's directory, and a writable /tmp. With `cluster`: the configuration and the account's token too. */ -}}
{{- define "orchestrator.mounts" -}}
- {name: run, mountPath: /run/orchestrator}
- {name: tmp, mountPath: /tmp}
{{- if .cluster }}
- {name: config, mountPath: /etc/orchestrator, readOnly: true}
- {name: account, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- with .root.Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The account's token is a volume, not mounted automatically: only the runner and the tracker get it. */ -}}
{{- define "orchestrator.volumes" -}}
- {name: run, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
- name: config
  downwardAPI: {items: [{path: orchestrator.yaml, fieldRef: {fieldPath: "metadata.annotations['orchestrator/config']"}}]}
- name: account
  projected:
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /*
Labels and annotations of a pod template. Takes root and component. The configuration is one of them, not a ConfigMap: a
pod keeps the one that it was made with. An upgrade would change a ConfigMap in the pods that still run, and a restart of
theirs would then read what check-config has refused.
*/ -}}
{{- define "orchestrator.podMetadata" -}}
labels:
  {{- include "orchestrator.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.podLabels }}{{ toYaml . | nindent 2 }}{{- end }}
annotations:
  # The container that `kubectl exec` and `kubectl logs` choose: it has the configuration and the keys.
  kubectl.kubernetes.io/default-container: {{ eq .component "tracker" | ternary "tracker" "runner" }}
  checksum/config: {{ include "orchestrator.config" .root | sha256sum }}
  orchestrator/config: |
    {{- include "orchestrator.config" .root | nindent 4 }}
  {{- with .root.Values.podAnnotations }}{{ toYaml . | nindent 2 }}{{- end }}
{{- end -}}

{{- /* What decides whether a pod can be scheduled and started, that of `helm test` as well. Begins with a line feed. */ -}}
{{- define "orchestrator.scheduling" }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* What every pod's spec has, without containers. Takes root and component. */ -}}
{{- define "orchestrator.podSpec" -}}
serviceAccountName: {{ include "orchestrator.account" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- include "orchestrator.scheduling" .root }}
{{- with .root.Values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
- {{- toYaml . | nindent 2 }}
  labelSelector:
    matchLabels:
      {{- include "orchestrator.selector" $.root | nindent 6 }}
      app.kubernetes.io/component: {{ $.component }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
volumes: {{- include "orchestrator.volumes" .root | nindent 0 }}
{{- end -}}

{{- /* The configuration is checked where the processes will run, before any of them starts. */ -}}
{{- define "orchestrator.checkConfig" -}}
{{- $config := include "orchestrator.config" . | fromYaml -}}
- name: check-config
  {{- include "orchestrator.container" . | nindent 2 }}
  command: [python, -m, runner, check-config]
  env: {{- include "orchestrator.env" (dict "root" . "keys" true "broker" (has "amqp" $config.protocols)) | nindent 2 }}
  resources: {{- toYaml .Values.functions.resources | nindent 4 }}
  volumeMounts: {{- include "orchestrator.mounts" (dict "root" . "cluster" true) | nindent 2 }}
{{- end -}}

{{- define "orchestrator.metricsPort" -}}
{{- if .Values.metrics.enabled }}
ports:
- {name: metrics, containerPort: {{ .Values.metrics.port }}}
{{- end }}
{{- end -}}

{{- /* A protocol's section of the configuration in its variable. The kubelet would expand $(NAME). */ -}}
{{- define "orchestrator.edgeEnv" -}}
{{- $config := include "orchestrator.config" .root | fromYaml -}}
- name: {{ .variable }}
  value: {{ get $config .section | toJson | replace "$(" "$$(" | quote }}
- {name: ORCHESTRATOR_SOCKET, value: {{ $config.sidecar.socket | quote }}}
- {name: ORCHESTRATOR_LOG_LEVEL, value: {{ default "info" (default dict $config.log).level | upper }}}
{{- include "orchestrator.env" (dict "root" .root "broker" .broker) }}
{{- end -}}
