package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goconductor/goconductor/sdk/go"
	"github.com/goconductor/goconductor/sdk/go/gctest"
)

const definition = `
workflow: shipping
steps:
  - { name: pack, run: parcels/pack, compensate: parcels/unpack }
output: { packed: "${ steps.pack.output.done }" }
`

func TestParticipantTakesPart(t *testing.T) {
	t.Parallel()
	participant := httptest.NewServer(http.HandlerFunc(serve))
	defer participant.Close()
	server := gctest.Start(t)
	body := strings.NewReader(`{"http": {"url": "` + participant.URL + `"}}`)
	request, err := http.NewRequest(http.MethodPut, server.URL()+"/api/v1/services/parcels", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := server.Client(t)
	if _, err := client.Apply(ctx, "shipping", []byte(definition)); err != nil {
		t.Fatal(err)
	}
	handle, err := client.Start(ctx, "shipping")
	if err != nil {
		t.Fatal(err)
	}
	result, err := handle.Result(ctx)
	if err != nil || result.Status != goconductor.StatusCompleted || string(result.Output) != `{"packed":"/pack"}` {
		t.Errorf("ended %v, %v", result, err)
	}
}
