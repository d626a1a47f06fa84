{{- /*
What the operator may do where it serves McpServers: operator/src/rbac.rs is the reason for each line, and a test keeps
the two equal. There is no verb on roles, on exec, and no wildcard. `list` on secrets means read: see docs/security.md.
*/ -}}
{{- define "mcp-operator.rules" -}}
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers]
  verbs: [get, list, watch]
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* What is not in a namespace: only where the operator serves all of them. */ -}}
{{- define "mcp-operator.clusterRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
{{- end -}}

{{- /* In the operator's own namespace: electing the one that works. A name cannot restrict `create`. */ -}}
{{- define "mcp-operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [mcp-operator]
  verbs: [get, patch, update, watch]
{{- end -}}
