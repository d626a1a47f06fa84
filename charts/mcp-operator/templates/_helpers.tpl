{{- define "mcp-operator.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "mcp-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "mcp-operator.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "mcp-operator.selector" -}}
app.kubernetes.io/name: mcp-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mcp-operator.labels" -}}
{{ include "mcp-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mcp-operator
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Name, namespace, labels and annotations; `annotations` of the call are added to the common ones. */ -}}
{{- define "mcp-operator.metadata" -}}
name: {{ .name | default (include "mcp-operator.name" .root) }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "mcp-operator.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.global.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mcp-operator.crdAnnotations" -}}
{{- $annotations := merge (dict) .Values.crds.annotations .Values.global.commonAnnotations -}}
{{- if .Values.crds.keep -}}
{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}
{{- end -}}
{{- with $annotations }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- /* [registry/]repository:tag, or @digest. */ -}}
{{- define "mcp-operator.image" -}}
{{- $registry := .image.registry | default .root.Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}
