{{/* The name of the chart in labels. */}}
{{- define "goconductor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The prefix of all names. A release called goconductor gets no double prefix. */}}
{{- define "goconductor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of the objects of a role. Parameters: root, role. */}}
{{- define "goconductor.role.name" -}}
{{- printf "%s-%s" (include "goconductor.fullname" .root) .role | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select the pods of a role. They never change, because a Deployment cannot change them. */}}
{{- define "goconductor.selector" -}}
app.kubernetes.io/name: {{ include "goconductor.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* All labels. Parameters: root, role (may be empty). */}}
{{- define "goconductor.labels" -}}
{{ include "goconductor.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: goconductor
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A reference to an image. Parameters: image, tag (the default tag). A digest takes precedence over a tag. */}}
{{- define "goconductor.image" -}}
{{- $name := .image.repository -}}
{{- with .image.registry }}{{- $name = printf "%s/%s" . $name -}}{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
The roles of the mode, as YAML: the name of each role with the key of its values, its command and its port.
*/}}
{{- define "goconductor.roles" -}}
{{- if eq .Values.mode "all-in-one" -}}
all-in-one: { values: allInOne, command: [goconductor, dev], port: 8470, listen: listen }
{{- else if eq .Values.mode "services" -}}
api-gateway: { values: apiGateway, command: [api-gateway], port: 8470, listen: listen }
leader-elector: { values: leaderElector, command: [leader-elector], port: 8473, listen: election.listen }
state-store: { values: stateStore, command: [state-store], port: 8471, listen: state_store.listen }
{{- if .Values.sagaExecutor.enabled }}
saga-executor: { values: sagaExecutor, command: [saga-executor], port: 8472, listen: executor.listen }
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The URL of the API for programs in the cluster. */}}
{{- define "goconductor.url" -}}
{{- $role := ternary "all-in-one" "api-gateway" (eq .Values.mode "all-in-one") -}}
{{ include "goconductor.scheme" . }}://{{ include "goconductor.role.name" (dict "root" . "role" $role) }}.{{ .Release.Namespace }}.svc:8470
{{- end -}}
