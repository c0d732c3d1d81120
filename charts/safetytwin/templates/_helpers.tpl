{{/* Name of the release's objects: the release's name, or with the chart's when that says nothing. */}}
{{- define "safetytwin.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" (.Release.Name | trunc 29 | trimSuffix "-") .Chart.Name }}{{ end }}
{{- end }}

{{/* Labels that select the pods of one component; (list . "agent"). */}}
{{- define "safetytwin.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: {{ $top.Chart.Name }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object of one component; (list . "agent"). */}}
{{- define "safetytwin.labels" -}}
{{- $top := index . 0 -}}
{{ include "safetytwin.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- end }}

{{/* Image of one component; (list . "agent"). */}}
{{- define "safetytwin.image" -}}
{{- $top := index . 0 -}}
{{ printf "%s/%s:%s" $top.Values.image.repository (index . 1) ($top.Values.image.tag | default $top.Chart.AppVersion) }}
{{- end }}

{{- define "safetytwin.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Of a container that needs nothing: no user, no capability, nothing to write. */}}
{{- define "safetytwin.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Directories of the selected files that nothing else mounts; takes .Values.agent. */}}
{{- define "safetytwin.fileDirectories" -}}
{{- $mounted := list "/etc" "/usr/lib" "/lib" "/usr/local/lib" }}
{{- if .dpkg }}{{ $mounted = append $mounted "/var/lib/dpkg" }}{{ end }}
{{- if .rpm }}{{ $mounted = append $mounted "/var/lib/rpm" }}{{ end }}
{{- if .sections.cron }}{{ $mounted = append $mounted "/var/spool" }}{{ end }}
{{- $directories := list }}
{{- range .sections.files }}
{{- $directory := regexFind "^(/[^/*]+)+/" . | trimSuffix "/" }}
{{- $new := true }}
{{- range concat $mounted $directories }}
{{- if hasPrefix (printf "%s/" .) (printf "%s/" $directory) }}{{ $new = false }}{{ end }}
{{- end }}
{{- if $new }}{{ $directories = append $directories $directory }}{{ end }}
{{- end }}
{{- $directories | toJson }}
{{- end }}
