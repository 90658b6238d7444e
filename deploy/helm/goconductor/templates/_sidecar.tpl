{{/*
The executor as a sidecar of a participant. This chart uses the templates for the values `participants`. Another chart
that depends on this one can use them for its own pods:

  containers:
    -
      {{- include "goconductor.sidecar.container" (dict "root" $goconductor "participant" $participant) | nindent 6 }}

Parameters: root (the context of this chart), participant (an entry of `participants`).
*/}}
{{- define "goconductor.sidecar.container" -}}
{{- $settings := deepCopy .root.Values.sagaExecutor -}}
{{- with dig "executor" "resources" nil .participant }}{{ $_ := set $settings "resources" . }}{{ end -}}
{{- include "goconductor.container" (dict "root" .root "role" "saga-executor" "name" "saga-executor" "command" (list "saga-executor") "port" 8472 "config" "goconductor-config" "settings" $settings) -}}
{{- end -}}

{{/* The configuration of the sidecar: it serves only the service of its participant. */}}
{{- define "goconductor.sidecar.config" -}}
{{- $executor := dict "services" (list .participant.name) -}}
{{- if not (dig "executor" "duties" true .participant) }}{{ $_ := set $executor "duties" false }}{{ end -}}
{{- include "goconductor.config" (dict "root" .root "role" "saga-executor" "executor" $executor) -}}
{{- end -}}

{{/* The volumes of the sidecar. Parameters: root, participant, configMap (the name of the ConfigMap). */}}
{{- define "goconductor.sidecar.volumes" -}}
- name: goconductor-config
  configMap: { name: {{ .configMap }} }
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- with include "goconductor.tls.volume" (dict "root" .root "role" "saga-executor") | trim }}
{{ . }}
{{- end }}
{{- with include "goconductor.masterKey.volume" (dict "root" .root "role" "saga-executor") | trim }}
{{ . }}
{{- end }}
{{- with .root.Values.sagaExecutor.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
