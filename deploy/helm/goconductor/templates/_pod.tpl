{{/* The security context of a pod, for the Pod Security Standard `restricted`. */}}
{{- define "goconductor.security.pod" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.security.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The security context of a container. */}}
{{- define "goconductor.security.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
The probes of a process. Liveness depends on nothing outside of the process. Readiness depends on the database, the queue
and the election. The timeout of readiness exceeds the two seconds that a check can take.
*/}}
{{- define "goconductor.probes" -}}
{{- $scheme := ternary ", scheme: HTTPS" "" .Values.tls.enabled -}}
startupProbe:
  httpGet: { path: /healthz, port: http{{ $scheme }} }
  periodSeconds: {{ .Values.probes.startup.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.startup.timeoutSeconds }}
  failureThreshold: {{ .Values.probes.startup.failureThreshold }}
livenessProbe:
  httpGet: { path: /healthz, port: http{{ $scheme }} }
  periodSeconds: {{ .Values.probes.liveness.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.liveness.timeoutSeconds }}
  failureThreshold: {{ .Values.probes.liveness.failureThreshold }}
readinessProbe:
  httpGet: { path: /readyz, port: http{{ $scheme }} }
  periodSeconds: {{ .Values.probes.readiness.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.readiness.timeoutSeconds }}
  failureThreshold: {{ .Values.probes.readiness.failureThreshold }}
{{- end -}}

{{/* A container of GoConductor. Parameters: root, role, name, command, port, settings (the values of the role). */}}
{{- define "goconductor.container" -}}
name: {{ .name }}
image: {{ include "goconductor.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ toJson .command }}
env:
  {{- include "goconductor.env" (dict "root" .root "role" .role "extra" .settings.extraEnv) | nindent 2 }}
{{- with .settings.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: http, containerPort: {{ .port }}, protocol: TCP }
{{- include "goconductor.probes" .root | nindent 0 }}
{{- if .root.Values.preStopSeconds }}
lifecycle:
  preStop:
    sleep: { seconds: {{ .root.Values.preStopSeconds }} }
{{- end }}
resources:
  {{- toYaml .settings.resources | nindent 2 }}
securityContext:
  {{- include "goconductor.security.container" . | nindent 2 }}
volumeMounts:
  - { name: {{ .config | default "config" }}, mountPath: /etc/goconductor, readOnly: true }
  - { name: tmp, mountPath: /tmp }
  {{- if .root.Values.tls.enabled }}
  - { name: tls, mountPath: /etc/goconductor-tls, readOnly: true }
  {{- end }}
  {{- if include "goconductor.masterKey" . }}
  - { name: master-key, mountPath: /etc/goconductor-master-key, readOnly: true }
  {{- end }}
  {{- if eq .role "all-in-one" }}
  - { name: data, mountPath: /var/lib/goconductor }
  {{- end }}
  {{- with .settings.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
The volume with the certificate of a role. A change of the Secret appears in it, and the process loads it. Parameters: root,
role.
*/}}
{{- define "goconductor.tls.volume" -}}
{{- if .root.Values.tls.enabled }}
- name: tls
  # Only the user and the group of the process can read the key: 0440.
  secret: { secretName: {{ include "goconductor.tls.secret" . }}, defaultMode: 288 }
{{- end }}
{{- end -}}

{{/* The volume with the master keys. Parameters: root, role. */}}
{{- define "goconductor.masterKey.volume" -}}
{{- with include "goconductor.masterKey" . }}
- name: master-key
  # Only the user and the group of the process can read the keys: 0440.
  secret: { secretName: {{ . }}, defaultMode: 288, items: [{ key: {{ $.root.Values.masterKey.key }}, path: master.key }] }
{{- end }}
{{- end -}}

{{/* The fields of a pod that place it in the cluster. Parameters: root, role, settings. */}}
{{- define "goconductor.placement" -}}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .settings.topologySpread }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $.settings.topologySpread }}
    labelSelector:
      matchLabels:
        {{- include "goconductor.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* The fields of a pod that every role has. Parameters: root, account (the name of its ServiceAccount). */}}
{{- define "goconductor.pod.common" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "goconductor.security.pod" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The name of the ServiceAccount of a role. Parameters: root, role, settings. */}}
{{- define "goconductor.account" -}}
{{- $account := .settings.serviceAccount -}}
{{- if $account.create -}}
{{- default (include "goconductor.role.name" .) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The pod template of a role. Parameters: root, role, spec (an entry of goconductor.roles), settings. */}}
{{- define "goconductor.pod" -}}
metadata:
  labels:
    {{- include "goconductor.labels" . | nindent 4 }}
    {{- with .settings.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "goconductor.config" . | sha256sum }}
    {{- with .settings.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "goconductor.pod.common" (dict "root" .root "account" (include "goconductor.account" .)) | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "goconductor.gracePeriod" .root }}
  {{- with include "goconductor.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if and (eq .role "state-store") (eq .root.Values.migrations.mode "init") }}
  initContainers:
    -
      {{- include "goconductor.migration.container" .root | nindent 6 }}
  {{- end }}
  containers:
    -
      {{- include "goconductor.container" (dict "root" .root "role" .role "name" .role "command" .spec.command "port" .spec.port "settings" .settings) | nindent 6 }}
  volumes:
    - name: config
      configMap: { name: {{ include "goconductor.role.name" . }} }
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- with include "goconductor.tls.volume" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "goconductor.masterKey.volume" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq .role "all-in-one" }}
    {{- $persistence := .settings.persistence }}
    {{- if not $persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- else if $persistence.existingClaim }}
    - name: data
      persistentVolumeClaim: { claimName: {{ $persistence.existingClaim }} }
    {{- end }}
    {{- end }}
    {{- with .settings.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
