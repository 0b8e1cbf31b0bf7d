package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-os/go-os/examples/shop/ordersv1"
	"github.com/go-os/go-os/state/kv"
)

// cartLife is the lifetime of a cart after its last change.
const cartLife = 30 * time.Minute

// cart has the quantities in a customer's cart, by product.
type cart map[string]int32

// carts has the carts of all customers. Storefronts on the same store share the carts.
type carts struct {
	store *kv.Store
	typed *kv.Typed[cart]
}

// newCarts returns an error if the engine lacks an ability that carts need.
func newCarts(store *kv.Store) (*carts, error) {
	if err := store.Require(kv.CAS, kv.Expiry); err != nil {
		return nil, fmt.Errorf("carts: %w", err)
	}
	return &carts{store: store, typed: kv.NewTyped[cart](store, nil)}, nil
}

// set changes the quantity of one product. Concurrent changes, as from two browser windows, are not lost.
func (c *carts) set(ctx context.Context, customer, product string, quantity int32) (now cart, err error) {
	_, err = c.typed.Update(ctx, customer, func(old kv.TypedItem[cart]) (cart, error) {
		if now = old.Value; now == nil {
			now = cart{}
		}
		if now[product] = quantity; quantity == 0 {
			delete(now, product)
		}
		return now, nil
	}, kv.TTL(cartLife))
	return now, err
}

// take returns a cart and removes it, so that only one of two orders for it gets it.
func (c *carts) take(ctx context.Context, customer string) (cart, error) {
	item, err := c.typed.Get(ctx, customer)
	if err != nil {
		return nil, err
	}
	return item.Value, c.typed.Delete(ctx, customer, kv.IfVersion(item.Version))
}

// putBack restores a cart after a failed order, unless the customer has begun a new one.
func (c *carts) putBack(ctx context.Context, customer string, taken cart) error {
	_, err := c.typed.Put(ctx, customer, taken, kv.IfAbsent(), kv.TTL(cartLife))
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}

func (s *storefront) showCart(w http.ResponseWriter, r *http.Request) {
	item, err := s.carts.typed.Get(r.Context(), r.PathValue("customer"))
	if err != nil {
		s.cartFailed(w, r, err)
		return
	}
	s.write(w, r, http.StatusOK, item.Value)
}

func (s *storefront) setInCart(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Quantity int32 `json:"quantity"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Quantity < 0 {
		http.Error(w, `the body must be {"quantity": n}, n not negative`, http.StatusBadRequest)
		return
	}
	item, ok := s.settings.Get().find(r.PathValue("product"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	now, err := s.carts.set(r.Context(), r.PathValue("customer"), item.ID, body.Quantity)
	if err != nil {
		s.cartFailed(w, r, err)
		return
	}
	s.write(w, r, http.StatusOK, now)
}

// orderCart orders the products in a cart one by one. After an error it puts the remaining products back into the cart.
func (s *storefront) orderCart(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Card string `json:"card"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, "the body is no payment: "+err.Error(), http.StatusBadRequest)
		return
	}
	customer := r.PathValue("customer")
	left, err := s.carts.take(r.Context(), customer)
	if err != nil {
		s.cartFailed(w, r, err)
		return
	}
	var placed []string
	for product, quantity := range left {
		answer, err := s.orders.Place(r.Context(), &ordersv1.PlaceRequest{Product: product, Quantity: quantity, Card: body.Card})
		if err != nil {
			if back := s.carts.putBack(context.WithoutCancel(r.Context()), customer, left); back != nil {
				s.pipeline.Logger().ErrorContext(r.Context(), "cart lost", slog.Any("error", back))
			}
			s.orderFailed(w, r, err)
			return
		}
		s.pipeline.Logger().InfoContext(r.Context(), "order taken", slog.String("order", answer.GetOrder()))
		placed = append(placed, answer.GetOrder())
		delete(left, product)
	}
	s.write(w, r, http.StatusCreated, map[string]any{"orders": placed})
}

// cartFailed responds with an error about a cart.
func (s *storefront) cartFailed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, kv.ErrNotFound):
		http.Error(w, "there is no such cart", http.StatusNotFound)
	case errors.Is(err, kv.ErrConflict):
		http.Error(w, "the cart was changed or ordered meanwhile: look at it again", http.StatusConflict)
	default:
		s.pipeline.Logger().ErrorContext(r.Context(), "carts are out of order", slog.Any("error", err))
		http.Error(w, "carts are out of order, please try again", http.StatusServiceUnavailable)
	}
}
