module github.com/go-os/go-os/internal/engines/consul

go 1.26.0

require github.com/hashicorp/consul v1.12.9

tool github.com/hashicorp/consul
