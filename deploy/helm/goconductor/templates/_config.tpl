{{/*
The configuration file of a role, as YAML. Parameters: root, role, and for a participant also executor (settings
that take precedence).

A role receives only the sections that it uses. So no process needs a secret of a connection that it does not open.
*/}}
{{- define "goconductor.config" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $config := deepCopy $values.config -}}
{{- $address := ternary "[::]" "0.0.0.0" (eq $values.listenAddress "::") -}}
{{- $scheme := include "goconductor.scheme" $root -}}
{{- /* Callers of the API are authenticated by access control, and those of the services behind the gateway by TLS. */ -}}
{{- $hasAccess := dig "access" "enabled" false $config -}}
{{- $hasProxy := and $hasAccess (dig "access" "allow_plaintext" false $config) -}}
{{- $isProtected := $values.tls.enabled -}}
{{- if has .role (list "api-gateway" "all-in-one") -}}
{{- $isProtected = or (and $hasAccess $values.tls.enabled) $hasProxy -}}
{{- else if eq .role "saga-executor" -}}
{{- $isProtected = or $values.tls.enabled $hasProxy -}}
{{- else if eq .role "migration" -}}
{{- $isProtected = false -}}
{{- end -}}
{{- if not $isProtected -}}
{{- $_ := set $config "allow_insecure_bind" true -}}
{{- end -}}
{{- if and $values.tls.enabled (ne .role "migration") -}}
{{- $directory := "/etc/goconductor-tls" -}}
{{- $_ := set $config "tls" (dict "ca_file" (printf "%s/ca.crt" $directory) "certificate_file" (printf "%s/tls.crt" $directory) "key_file" (printf "%s/tls.key" $directory)) -}}
{{- if ne $values.tls.trustDomain "goconductor" }}{{ $_ := set $config.tls "trust_domain" $values.tls.trustDomain }}{{ end -}}
{{- end -}}
{{- if include "goconductor.masterKey" . -}}
{{- $_ := set $config "secrets" (merge (dict "master_key" "file:///etc/goconductor-master-key/master.key") (get $config "secrets" | default dict)) -}}
{{- end -}}
{{- /* Participants have addresses of the cluster, and an executor beside a participant calls it over loopback. The gateway
registers both. A value of config.executor.outbound replaces this. */ -}}
{{- $settings := get $config "executor" | default dict -}}
{{- if and (has .role (list "api-gateway" "saga-executor" "all-in-one")) (not (hasKey $settings "outbound")) -}}
{{- $usesLoopback := or (eq .role "api-gateway") (hasKey (.executor | default dict) "services") -}}
{{- $_ := set $settings "outbound" (dict "allow" (ternary (list "loopback" "private") (list "private") $usesLoopback)) -}}
{{- $_ := set $config "executor" $settings -}}
{{- end -}}
{{- $store := get $config "state_store" | default dict -}}
{{- $election := get $config "election" | default dict -}}
{{- $endpoints := list (printf "%s://%s:8471" $scheme (include "goconductor.role.name" (dict "root" .root "role" "state-store"))) -}}
{{- $electors := list (printf "%s://%s:8473" $scheme (include "goconductor.role.name" (dict "root" .root "role" "leader-elector"))) -}}
{{- /* The other settings of executors, such as executor.drain, apply to all roles. */ -}}
{{- if not (has .role (list "saga-executor" "all-in-one")) -}}
{{- $shared := omit (get $config "executor" | default dict) "services" "duties" -}}
{{- $config = omit $config "executor" -}}
{{- if $shared }}{{ $_ := set $config "executor" $shared }}{{ end -}}
{{- end -}}
{{- if eq $values.mode "participants" -}}
{{- $endpoints = $values.connection.stateStores -}}
{{- $electors = $values.connection.electors -}}
{{- end -}}
{{- if eq .role "all-in-one" -}}
{{- $_ := set $config "listen" (printf "%s:8470" $address) -}}
{{- $_ := set $config "data_dir" "/var/lib/goconductor" -}}
{{- else if has .role (list "state-store" "migration") -}}
{{- $config = omit $config "access" "queue" "election" "services" -}}
{{- $_ := set $store "listen" (printf "%s:8471" $address) -}}
{{- $_ := set $config "state_store" $store -}}
{{- else if eq .role "leader-elector" -}}
{{- $config = omit $config "access" "queue" "services" -}}
{{- $_ := set $election "listen" (printf "%s:8473" $address) -}}
{{- $_ := set $config "election" $election -}}
{{- $_ := set $config "state_store" (dict "endpoints" $endpoints) -}}
{{- else -}}
{{- $config = omit $config "services" -}}
{{- $_ := set $config "state_store" (dict "endpoints" $endpoints) -}}
{{- $_ := set $config "election" (dict "electors" $electors) -}}
{{- if eq .role "api-gateway" -}}
{{- $_ := set $config "listen" (printf "%s:8470" $address) -}}
{{- else -}}
{{- $executor := merge (dict "listen" (printf "%s:8472" $address)) (.executor | default dict) (get $config "executor" | default dict) -}}
{{- $_ := set $config "executor" $executor -}}
{{- end -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}

{{/*
The settings that a role reads from Secrets, as YAML. Parameters: root, role.

The state store and the migration get the database, the elector its backend, and gateways and executors the queue and the
access control.
*/}}
{{- define "goconductor.secrets" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $prefixes := list "telemetry." -}}
{{- if has .role (list "all-in-one" "state-store" "migration") }}{{ $prefixes = append $prefixes "state_store." }}
{{- else if eq .role "leader-elector" }}{{ $prefixes = append $prefixes "election." }}
{{- else }}{{ $prefixes = append $prefixes "queue." }}
{{- end -}}
{{- if has .role (list "all-in-one" "api-gateway" "saga-executor") }}{{ $prefixes = append $prefixes "access." }}{{ end -}}
{{- $chosen := dict -}}
{{- range $setting, $reference := $secrets -}}
{{- range $prefix := $prefixes -}}
{{- if hasPrefix $prefix $setting }}{{ $_ := set $chosen $setting $reference }}{{ end -}}
{{- end -}}
{{- end -}}
{{- /* An election on PostgreSQL uses the database of the state store unless another one is set. */ -}}
{{- if and (eq .role "leader-elector") (eq (include "goconductor.election" .root) "postgres") -}}
{{- $election := .root.Values.config.election | default dict -}}
{{- if and (not (hasKey $chosen "election.url")) (not $election.url) -}}
{{- with get $secrets "state_store.url" }}{{ $_ := set $chosen "election.url" . }}{{ end -}}
{{- end -}}
{{- end -}}
{{ toYaml $chosen }}
{{- end -}}

{{/*
The name of the Secret with the master keys, if a role gets them. Gateways and executors use secrets. The others need the
setting if payloads are encrypted. Parameters: root, role.
*/}}
{{- define "goconductor.masterKey" -}}
{{- $values := .root.Values -}}
{{- if or (has .role (list "all-in-one" "api-gateway" "saga-executor")) $values.config.encryption -}}
{{- $values.masterKey.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* The scheme of the addresses of the processes. */}}
{{- define "goconductor.scheme" -}}
{{- ternary "https" "http" .Values.tls.enabled -}}
{{- end -}}

{{/* The name of the Secret with the certificate of a role. Parameters: root, role. */}}
{{- define "goconductor.tls.secret" -}}
{{- $default := printf "%s-tls" (include "goconductor.role.name" .) -}}
{{- get .root.Values.tls.secrets .role | default $default -}}
{{- end -}}

{{/* The backend of the elections. */}}
{{- define "goconductor.election" -}}
{{- dig "election" "backend" "local" .Values.config -}}
{{- end -}}

{{/* The environment of a container. Parameters: root, role, extra (further variables). */}}
{{- define "goconductor.env" -}}
- name: GOCONDUCTOR_CONFIG
  value: /etc/goconductor/goconductor.yaml
{{- range $setting, $reference := include "goconductor.secrets" . | fromYaml }}
- name: GOCONDUCTOR_{{ $setting | upper | replace "." "__" }}
  valueFrom:
    secretKeyRef:
      name: {{ $reference.name }}
      key: {{ $reference.key }}
{{- end }}
{{- if and (eq .role "state-store") (ne .root.Values.migrations.mode "automatic") }}
- name: GOCONDUCTOR_STATE_STORE__MIGRATE
  value: verify
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A duration such as 1m30s in whole seconds, rounded up. */}}
{{- define "goconductor.seconds" -}}
{{- $units := dict "d" 86400000.0 "h" 3600000.0 "m" 60000.0 "s" 1000.0 "ms" 1.0 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|d|h|m|s)" . -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $total = addf $total (mulf (trimSuffix $unit . | float64) (get $units $unit)) -}}
{{- end -}}
{{- ceil (divf $total 1000.0) | int64 -}}
{{- end -}}

{{/*
The time that Kubernetes waits for the end of a pod: the pause before SIGTERM, and the time after which a process ends at
the latest. That is executor.drain and 15 seconds, for every role.
*/}}
{{- define "goconductor.gracePeriod" -}}
{{- $drain := include "goconductor.seconds" (dig "executor" "drain" "10s" .Values.config) | int64 -}}
{{- add .Values.preStopSeconds $drain 15 -}}
{{- end -}}
