package storefront

import (
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
)

// newPayments returns the handler of payments. It reports the load of the process to callers.
func newPayments(load *oshttp.Load) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pay", func(w http.ResponseWriter, r *http.Request) {
		amount, err := io.ReadAll(io.LimitReader(r.Body, 100))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "paid %s", amount)
	})
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Services: []string{"payments"}, ReportLoad: load})
}

// newProtected returns a handler that sheds load, and whose requests to other services have the tenant of its callers.
func newProtected(mux http.Handler, load *oshttp.Load) (http.Handler, error) {
	shedder, err := shed.New(nil)
	if err != nil {
		return nil, err
	}
	allowed, err := router.NewAllowlist("tenant")
	if err != nil {
		return nil, err
	}
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Services: []string{"payments"}, ReportLoad: load, Shedder: shedder, Labels: allowed,
	}), nil
}

// newPrices returns the server of prices.
func newPrices(load *osgrpc.Load) *grpc.Server {
	return grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{Services: []string{"prices"}, ReportLoad: load})...)
}
