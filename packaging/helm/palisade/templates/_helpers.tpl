{{- define "palisade.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Called with (dict "root" $ "role" "lapi"). */}}
{{- define "palisade.selectorLabels" -}}
app.kubernetes.io/name: palisade
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "palisade.labels" -}}
{{ include "palisade.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Called with (dict "root" $ "image" .Values.lapi.image). */}}
{{- define "palisade.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "palisade.lapiUrl" -}}
{{- printf "%s://%s-lapi.%s.svc:%d/" (ternary "https" "http" (ne .Values.lapi.tls.existingSecret "")) (include "palisade.fullname" .) .Release.Namespace (int .Values.lapi.service.port) -}}
{{- end -}}

{{/* What is laid over the firewall's configuration: urls, if there are several, and what the values say. */}}
{{- define "palisade.firewallConfig" -}}
{{- $config := deepCopy .Values.firewall.config -}}
{{- if gt (len .Values.firewall.lapiUrls) 1 -}}
{{- $_ := set $config "api_urls" (rest .Values.firewall.lapiUrls) -}}
{{- end -}}
{{- if $config }}{{ toYaml $config }}{{ end -}}
{{- end -}}
