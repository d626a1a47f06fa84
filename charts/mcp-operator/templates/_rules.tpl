{{- /*
Generated from operator/src/rbac.rs: UPDATE=1 cargo test -p mcp-operator --test rbac
`list` on secrets means read: see docs/security.md.
*/ -}}

{{- /* Where the operator serves McpServers. */ -}}
{{- define "mcp-operator.rules" -}}
# the servers; their spec is never written
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers]
  verbs: [list, watch]
# their conditions
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers/status]
  verbs: [patch]
# children
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
# children; the metadata of all others is watched, because servers refer to them; those in a backend's environment are read
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# whether those that servers mount exist, and may be written to from several nodes
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
# migrations, created once for each change
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# children
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# children
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# children
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# children
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# children of servers with TLS inside of the pod, where cert-manager is installed
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
# children, where the Gateway API is installed
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# children, where the Prometheus operator is installed
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
# why a pod does not start, in the status
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# which boot ConfigMaps are in use, and why pods are not created
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
# the addresses that are asked whether they serve
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# one event for each transition
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if eq .Values.secretAccess "Full" }}
# the generated keys are created, and changed when an annotation asks for it; the metadata of all others is watched, though list means read; those in a backend's environment, and authorities of tls.caBundle, are read
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if eq .Values.secretAccess "NoGet" }}
# the generated keys are created, and changed when an annotation asks for it; the metadata of all others is watched, though list means read
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch, create, patch]
{{- end }}
{{- end -}}

{{- /* What is not in a namespace: only where the operator serves all of them. */ -}}
{{- define "mcp-operator.clusterRules" -}}
# which controller serves a route
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- end -}}

{{- /* In the operator's own namespace. */ -}}
{{- define "mcp-operator.leaseRules" -}}
# electing the operator that works; a name cannot restrict create
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# holding and handing over the election
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "mcp-operator.name" . | quote }}]
  verbs: [get, update]
{{- end -}}
