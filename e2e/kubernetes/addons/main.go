// Command addons holds what clusters have beside Kubernetes and what their users expect to be there: metrics-server,
// cert-manager's controllers, and kube-router's network policies. Their own code, one binary because they share most of
// it. The first argument says which: `addons metrics-server --kubelet-insecure-tls …`.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

var parts = map[string]func(){
	"cert-manager":     func() { exit(certManager()) },
	"metrics-server":   func() { os.Exit(cli.Run(metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()))) },
	"network-policies": func() { exit(networkPolicies()) },
}

func main() {
	if len(os.Args) > 1 {
		if part, known := parts[os.Args[1]]; known {
			// The part must see only its own arguments.
			os.Args = os.Args[1:]
			part()
			return
		}
	}
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: addons PART [ARGUMENT …], PART one of: %s\n", strings.Join(names, ", "))
	os.Exit(2)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
