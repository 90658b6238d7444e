// The order saga in one program: two steps, each with its compensation.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/goconductor/goconductor/sdk/go"
)

func main() {
	ctx := context.Background()
	workflow := goconductor.Workflow{Name: "Order Processing", Steps: []goconductor.WorkflowStep{
		{Name: "Process Payment", Execute: say("charged"), Compensate: say("refunded")},
		{Name: "Update Inventory", Execute: reserve, Compensate: say("released")},
	}}
	for _, sku := range []string{"book", "sold-out"} {
		order := must(goconductor.StartWorkflow(ctx, workflow, goconductor.WithInput(sku)))
		fmt.Println(sku, must(order.Result(ctx)).Status)
	}
}

func say(text string) goconductor.StepFunc {
	return func(context.Context) error { _, err := fmt.Println(text); return err }
}

func reserve(ctx context.Context) error {
	if must(goconductor.Input[string](ctx)) == "sold-out" {
		return goconductor.Refused("SOLD_OUT", "the item is sold out")
	}
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
