{{/* The container that migrates the schema of the database. */}}
{{- define "goconductor.migration.container" -}}
name: migrate
image: {{ include "goconductor.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [goconductor, db, migrate]
env:
  {{- include "goconductor.env" (dict "root" . "role" "migration" "extra" .Values.stateStore.extraEnv) | nindent 2 }}
{{- with .Values.stateStore.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.migrations.resources | nindent 2 }}
securityContext:
  {{- include "goconductor.security.container" . | nindent 2 }}
volumeMounts:
  - { name: config, mountPath: /etc/goconductor, readOnly: true }
  - { name: tmp, mountPath: /tmp }
  {{- with .Values.stateStore.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
