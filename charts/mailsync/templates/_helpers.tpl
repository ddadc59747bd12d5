{{- define "mailsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects: the release's, with the chart's unless that is part of it already. */}}
{{- define "mailsync.fullname" -}}
{{- $name := include "mailsync.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mailsync.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mailsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "mailsync.labels" -}}
{{ include "mailsync.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mailsync.serviceAccountName" -}}
{{- default (ternary (include "mailsync.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* An image's reference; called with a list: the image's values and the chart's appVersion. */}}
{{- define "mailsync.image" -}}
{{- $image := index . 0 }}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}

{{/*
What the operator may do. There is nothing about Secrets in it, unless rbac.watchSecrets asks for it:
only the Jobs' pods get them.
*/}}
{{- define "mailsync.rules" -}}
- apiGroups: [mailsync.dev]
  resources: [mailsyncs, mailendpoints]
  verbs: [get, list, watch]
- apiGroups: [mailsync.dev]
  resources: [mailsyncs/status, mailendpoints/status]
  verbs: [patch]
# One Job for each run and probe; patch suspends it, delete keeps the history short.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Attempts, exit codes and why a pod does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Progress and the final report.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# The events of pods that do not start; the operator's own.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
# Reports are written by server-side apply; without get and list nobody's ConfigMap can be read.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch]
{{- if .Values.rbac.watchSecrets }}
# rbac.watchSecrets. RBAC knows no permission on metadata alone: with this one Secrets can be read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
{{- end }}
{{- end }}
