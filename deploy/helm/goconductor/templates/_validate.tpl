{{/* Checks across values, which the schema cannot express with a clear message. */}}
{{- define "goconductor.validate" -}}
{{- $config := .Values.config -}}
{{- if ne .Values.mode "participants" -}}
{{- if or .Values.connection.stateStores .Values.connection.electors -}}
{{- fail "connection has an effect only in mode participants" -}}
{{- end -}}
{{- else if not (and .Values.connection.stateStores .Values.connection.electors) -}}
{{- fail "connection.stateStores and connection.electors are missing: mode participants needs the addresses of another release" -}}
{{- end -}}
{{- if ne .Values.mode "all-in-one" -}}
{{- if has (dig "queue" "backend" "memory" $config) (list "memory") -}}
{{- fail "config.queue.backend is missing: set kafka, kinesis, nats or rabbitmq, because the queue memory cannot connect processes" -}}
{{- end -}}
{{- if $config.services -}}
{{- fail "config.services has an effect only in mode all-in-one: register services with goconductor service set" -}}
{{- end -}}
{{- end -}}
{{- if ne .Values.mode "services" -}}
{{- if .Values.keda.enabled -}}
{{- fail "keda.enabled needs mode services, because it scales the Deployment of executors" -}}
{{- end -}}
{{- if ne .Values.migrations.mode "automatic" -}}
{{- fail "migrations.mode must be automatic except in mode services" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "services" -}}
{{- if ne (dig "state_store" "backend" "" $config) "postgres" -}}
{{- fail "config.state_store.backend must be postgres in mode services, because SQLite is for one process" -}}
{{- end -}}
{{- if and (not (dig "state_store" "url" "" $config)) (not (hasKey .Values.secrets "state_store.url")) -}}
{{- fail "secrets.\"state_store.url\" is missing: name a Secret and its key with the URL of the database, such as postgres://user:password@host/database" -}}
{{- end -}}
{{- if eq (include "goconductor.election" .) "local" -}}
{{- fail "config.election.backend is missing: set postgres, etcd or zookeeper, because the election local cannot connect processes" -}}
{{- end -}}
{{- if and .Values.keda.enabled (not .Values.sagaExecutor.enabled) -}}
{{- fail "keda.enabled needs sagaExecutor.enabled, because it scales that Deployment" -}}
{{- end -}}
{{- if and (not .Values.sagaExecutor.enabled) (not .Values.participants) -}}
{{- fail "sagaExecutor.enabled is false and participants is empty: no process would execute steps" -}}
{{- end -}}
{{- else if eq .Values.mode "all-in-one" -}}
{{- if .Values.participants -}}
{{- fail "participants need mode services, because an executor in a pod of its own needs a queue" -}}
{{- end -}}
{{- if and (eq (dig "state_store" "backend" "sqlite" $config) "postgres") (not (dig "state_store" "url" "" $config)) (not (hasKey .Values.secrets "state_store.url")) -}}
{{- fail "secrets.\"state_store.url\" is missing: name a Secret and its key with the URL of the database" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.keda.enabled .Values.sagaExecutor.autoscaling.enabled -}}
{{- fail "keda.enabled and sagaExecutor.autoscaling.enabled exclude each other: two autoscalers would scale one Deployment" -}}
{{- end -}}
{{- if and .Values.masterKey.existingSecret (or (dig "secrets" "master_key" "" $config) (dig "secrets" "command" "" $config)) -}}
{{- fail "masterKey.existingSecret and config.secrets exclude each other: a process has one source of master keys" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.enabled) -}}
{{- fail "tls.certManager.enabled needs tls.enabled" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuer.name) -}}
{{- fail "tls.certManager.issuer.name is missing: name an Issuer or a ClusterIssuer of cert-manager with an authority of your own" -}}
{{- end -}}
{{- $scheme := printf "%s://" (include "goconductor.scheme" .) -}}
{{- range $url := concat .Values.connection.stateStores .Values.connection.electors -}}
{{- if not (hasPrefix $scheme $url) -}}
{{- fail (printf "connection: %s must begin with %s, because tls.enabled is %t" $url $scheme $.Values.tls.enabled) -}}
{{- end -}}
{{- end -}}
{{- range $index, $participant := .Values.participants -}}
{{- if has $participant.name (list "api-gateway" "leader-elector" "state-store" "saga-executor" "migration" "default-deny" "test") -}}
{{- fail (printf "participants: the name %s is that of another object of the chart" $participant.name) -}}
{{- end -}}
{{- range $other := slice $.Values.participants (add1 $index | int) -}}
{{- if eq $participant.name $other.name -}}
{{- fail (printf "participants: two entries have the name %s" $other.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
