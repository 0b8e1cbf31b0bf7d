package versions

// Namespace identifies an instance, and thereby its layers of configuration.
type Namespace struct {
	// Environment, such as "prod". All its layers begin with its name, so that a store can restrict access to one environment.
	Environment string
	// Region, such as "eu-west".
	Region string
	// Application, such as "orders".
	Application string
	// Instance, such as a host or a pod.
	Instance string
}

// Layers returns the layers of configuration from the most general to the most specific; later ones override earlier ones:
//
//	base
//	prod/base
//	prod/region/eu-west
//	prod/application/orders
//	prod/application/orders/region/eu-west
//	prod/application/orders/instance/orders-7
//
// Layers with an empty part of the Namespace are left out. Without an Environment the only layer is base.
func (n Namespace) Layers() []string {
	layers := []string{"base"}
	if n.Environment == "" {
		return layers
	}
	layers = append(layers, n.Environment+"/base")
	if n.Region != "" {
		layers = append(layers, n.Environment+"/region/"+n.Region)
	}
	if n.Application == "" {
		return layers
	}
	app := n.Environment + "/application/" + n.Application
	layers = append(layers, app)
	if n.Region != "" {
		layers = append(layers, app+"/region/"+n.Region)
	}
	if n.Instance != "" {
		layers = append(layers, app+"/instance/"+n.Instance)
	}
	return layers
}
