package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// As upstream's kube-router with --run-firewall and nothing else: without its router and its service proxy, and so
// without the libraries for BGP, IPVS and containers.
func networkPolicies() error {
	config := options.NewKubeRouterConfig()
	flags := flag.NewFlagSet("network-policies", flag.ContinueOnError)
	klog.InitFlags(flags)
	kubeconfig := flags.String("kubeconfig", "", "how the API server is reached")
	services := flags.String("service-cluster-ip-range", "", "the addresses of Services")
	flags.StringVar(&config.HostnameOverride, "hostname-override", "", "the node's name")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	config.ClusterIPCIDRs = []string{*services}
	config.EnableIPv4 = true
	config.RunFirewall = true
	config.IPTablesSyncPeriod = time.Minute

	client, err := clientOf(*kubeconfig)
	if err != nil {
		return err
	}
	stop := genericapiserver.SetupSignalHandler()
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	factory.WaitForCacheSync(stop)

	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	firewall, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &mutex, tables, sets)
	if err != nil {
		return err
	}
	for _, each := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{{pods, firewall.PodEventHandler}, {namespaces, firewall.NamespaceEventHandler}, {policies, firewall.NetworkPolicyEventHandler}} {
		if _, err := each.informer.AddEventHandler(each.handler); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats { // nobody asks
		}
	}()
	var group sync.WaitGroup
	group.Add(1)
	firewall.Run(beats, stop, &group)
	return nil
}

func clientOf(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
