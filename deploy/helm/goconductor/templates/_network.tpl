{{/* Ports of a NetworkPolicy. */}}
{{- define "goconductor.network.ports" -}}
{{- range . }}
- { port: {{ . }}, protocol: TCP }
{{- end }}
{{- end -}}

{{/* A rule to a destination outside of the chart: `to` and `ports`. An empty `to` allows every address. */}}
{{- define "goconductor.network.egress" -}}
-
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .ports }}
  ports:
    {{- include "goconductor.network.ports" . | nindent 4 }}
  {{- end }}
  {{- if not (or .to .ports) }}
  to: []
  {{- end }}
{{- end -}}

{{/* A rule to a role of the chart. Parameters: root, role, port. */}}
{{- define "goconductor.network.role" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "goconductor.selector" . | nindent 10 }}
  ports:
    - { port: {{ .port }}, protocol: TCP }
{{- end -}}

{{/* The ports of the queue: the configured ones, or the usual ones of the backend. */}}
{{- define "goconductor.network.queue" -}}
{{- $usual := dict "kafka" (list 9092 9093) "nats" (list 4222) "rabbitmq" (list 5671 5672) "kinesis" (list 443) -}}
{{- $queue := .Values.networkPolicy.queue -}}
{{- $ports := default (get $usual (dig "queue" "backend" "memory" .Values.config) | default list) $queue.ports -}}
{{- include "goconductor.network.egress" (dict "to" $queue.to "ports" $ports) -}}
{{- end -}}

{{/* The ports of the election backend. */}}
{{- define "goconductor.network.election" -}}
{{- $backend := include "goconductor.election" . -}}
{{- if eq $backend "postgres" -}}
{{- include "goconductor.network.egress" .Values.networkPolicy.database -}}
{{- else -}}
{{- $usual := dict "etcd" (list 2379) "zookeeper" (list 2181 2281) -}}
{{- $election := .Values.networkPolicy.election -}}
{{- include "goconductor.network.egress" (dict "to" $election.to "ports" (default (get $usual $backend) $election.ports)) -}}
{{- end -}}
{{- end -}}
