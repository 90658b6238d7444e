// A participant over plain HTTP, without an SDK: goconductor service set parcels --url http://127.0.0.1:9101
package main

import (
	"fmt"
	"net/http"
	"sync"
)

var responses sync.Map // by idempotency key; a real service stores them in its database

func serve(w http.ResponseWriter, r *http.Request) {
	response, _ := responses.LoadOrStore(r.Header.Get("Idempotency-Key"), `{"done": "`+r.URL.Path+`"}`)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, response)
}

func main() { panic(http.ListenAndServe("127.0.0.1:9101", http.HandlerFunc(serve))) }
