// A participant over plain HTTP, without an SDK: goconductor service set parcels --url http://127.0.0.1:9101
package main

import (
	"fmt"
	"net/http"
	"sync"
)

func main() {
	var responses sync.Map // by idempotency key; a real service stores them in its database
	http.HandleFunc("POST /{action}", func(w http.ResponseWriter, r *http.Request) {
		response, _ := responses.LoadOrStore(r.Header.Get("Idempotency-Key"), `{"done": "`+r.PathValue("action")+`"}`)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, response)
	})
	panic(http.ListenAndServe("127.0.0.1:9101", nil))
}
