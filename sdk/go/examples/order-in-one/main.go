// The order saga in one program: two steps, each with its compensation.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/goconductor/goconductor/sdk/go"
)

func say(text string) goconductor.StepFunc {
	return func(context.Context) error { _, err := fmt.Println(text); return err }
}

func reserve(ctx context.Context) error {
	sku, err := goconductor.Input[string](ctx)
	if sku == "sold-out" {
		return goconductor.Refused("SOLD_OUT", "the item is sold out")
	}
	return err
}

func main() {
	ctx := context.Background()
	workflow := goconductor.Workflow{Name: "Order Processing", Steps: []goconductor.WorkflowStep{
		{Name: "Process Payment", Execute: say("charged"), Compensate: say("refunded")},
		{Name: "Update Inventory", Execute: reserve, Compensate: say("released")},
	}}
	for _, sku := range []string{"book", "sold-out"} {
		order, err := goconductor.StartWorkflow(ctx, workflow, goconductor.WithInput(sku))
		if err != nil {
			log.Fatal(err)
		}
		result, err := order.Result(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sku, result.Status)
	}
}
